"""Pictures in shards: tar files (WebDataset) and parquet files, read in place."""

from picturebook.data.shards.files import ShardFiles, find_shards
from picturebook.data.shards.parquet import read_parquet_shards
from picturebook.data.shards.tar import read_tar_shards

__all__ = ["ShardFiles", "find_shards", "read_parquet_shards", "read_tar_shards"]
