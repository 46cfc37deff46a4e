"""Folders of tiny models that write text, newly initialised: what they say means nothing, how they are called is real."""

from pathlib import Path
from typing import Any

WORDS = ("a", "photo", "of", "red", "blue", "round", "thing", "is", "this", "what", "label", "user", "assistant", ":", "?")
SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
PICTURE = {"image_size": 16, "patch_size": 8}
CHAT = (
    "{% for m in messages %}{{ m['role'] }} : {% for c in m['content'] %}"
    "{{ '<image> ' if c['type'] == 'image' else c['text'] }}{% endfor %}{% endfor %} assistant :"
)
TEXT_CHAT = "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }}{% endfor %} assistant :"


def tokenizer(*more: str, max_length: int = 512, **special: str) -> Any:
    """A WordPiece tokenizer over WORDS that puts [CLS] before and [SEP] after."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import PreTrainedTokenizerFast

    names = [*SPECIAL.values(), *WORDS, *more]
    pieces = BertWordPieceTokenizer({word: number for number, word in enumerate(names)})
    tokens = SPECIAL | special
    return PreTrainedTokenizerFast(tokenizer_object=pieces._tokenizer, model_max_length=max_length, **tokens)


def seeded(build: Any, config: Any) -> Any:
    """A model with weights so large that what goes in changes what comes out."""
    import torch

    model = build(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            if parameter.ndim > 1:
                parameter.normal_(std=0.5, generator=generator)
    return model


def image_processor(name: str) -> Any:
    import transformers

    size = {"height": 16, "width": 16}
    return getattr(transformers, name)(size=size, crop_size=size, do_center_crop=False)


def blip(folder: Path) -> Path:
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipProcessor

    words = tokenizer()
    ids = {"bos_token_id": words.cls_token_id, "sep_token_id": words.sep_token_id, "pad_token_id": 0, "eos_token_id": 3}
    text = SIZES | {"vocab_size": len(words), "encoder_hidden_size": 16, "max_position_embeddings": 64, **ids}
    config = BlipConfig(text_config=text, vision_config=SIZES | PICTURE, projection_dim=16, image_text_hidden_size=16)
    seeded(BlipForConditionalGeneration, config).save_pretrained(folder)
    BlipProcessor(image_processor("BlipImageProcessor"), words).save_pretrained(folder)
    return folder


def git(folder: Path) -> Path:
    from transformers import GitConfig, GitForCausalLM, GitProcessor

    words = tokenizer()
    ids = {"bos_token_id": words.cls_token_id, "eos_token_id": words.sep_token_id, "pad_token_id": 0}
    config = GitConfig(
        vision_config=SIZES | PICTURE,
        vocab_size=len(words),
        max_position_embeddings=64,
        num_image_with_embedding=None,
        **SIZES,
        **ids,
    )
    seeded(GitForCausalLM, config).save_pretrained(folder)
    GitProcessor(image_processor("CLIPImageProcessor"), words).save_pretrained(folder)
    return folder


def vit_bert(folder: Path) -> Path:
    from transformers import BertConfig, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

    words = tokenizer()
    decoder = BertConfig(vocab_size=len(words), max_position_embeddings=64, is_decoder=True, add_cross_attention=True, **SIZES)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(ViTConfig(**SIZES, **PICTURE), decoder)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = words.cls_token_id, 0, words.sep_token_id
    seeded(VisionEncoderDecoderModel, config).save_pretrained(folder)
    image_processor("ViTImageProcessor").save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def llava(folder: Path) -> Path:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    words = tokenizer("<image>")
    words.add_special_tokens({"additional_special_tokens": ["<image>"]})
    text = LlamaConfig(vocab_size=len(words), num_key_value_heads=2, pad_token_id=0, bos_token_id=2, eos_token_id=3, **SIZES)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**SIZES, **PICTURE),
        text_config=text,
        image_token_id=words.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    seeded(LlavaForConditionalGeneration, config).save_pretrained(folder)
    processor = LlavaProcessor(
        image_processor("CLIPImageProcessor"),
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    )
    processor.save_pretrained(folder)
    return folder


def llama(folder: Path, *, chat: bool = False, max_length: int = 512) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    words = tokenizer(max_length=max_length)
    if chat:
        words.chat_template = TEXT_CHAT
    config = LlamaConfig(vocab_size=len(words), num_key_value_heads=2, pad_token_id=0, bos_token_id=2, eos_token_id=3, **SIZES)
    seeded(LlamaForCausalLM, config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
