"""Encoders, heads and the student's folder: the only part that imports timm and sentence-transformers.

`import picturebook.models` registers picturebook's own architectures with timm.
"""

from picturebook.models import architectures as architectures
from picturebook.models import early_exit as early_exit
