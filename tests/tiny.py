"""A tiny random Llama with its own tokenizer, built on the spot: small enough for tests, real enough for vLLM."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHATML = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

CONTROL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

SENTENCES = (
    "You play a person who writes to a support chatbot. Write only this person's next message. End it with [END].",
    "I can't sleep, my exams are next week and my sister says I worry too much.",
    "That sounds hard. What goes through your mind when you lie awake at night?",
    "idk, everything? mostly that i will fail and have to tell my parents. lol",
    "It makes sense that you feel this way; would you like to talk about what helped before?",
    "My boss yelled at me today in front of everyone!! I felt so small...",
    "Thank you for telling me. Have you been able to talk about it with someone you trust?",
    "ok thanks, that helps a bit. I have to go now, bye [END]",
    "About you: a nurse of 34 who lives alone. Long-term themes: sleep; work. Earlier chats: panic before exams.",
    "Today: feels low after an argument. (The chat is open. You write first.) Hello.",
)


def build_tokenizer(
    control_tokens: tuple[str, ...] = CONTROL_TOKENS,
    *,
    chat_template: str | None = CHATML,
    eos_token: str = "<|im_end|>",
    pad_token: str = "<|endoftext|>",
    bos_token: str | None = None,
    vocab_size: int = 600,
) -> PreTrainedTokenizerFast:
    """Byte-level BPE tokenizer trained on a few sentences; any text has tokens, and decodes to itself."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        SENTENCES,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=list(control_tokens),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=eos_token,
        pad_token=pad_token,
        bos_token=bos_token,
        extra_special_tokens=list(control_tokens),
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = chat_template
    return tokenizer


def build_tiny_model(
    folder: Path, *, chat_template: str | None = None, seed: int = 0, max_position_embeddings: int = 2048
) -> Path:
    """Save a random LlamaForCausalLM (about 0.4 M parameters) with its tokenizer into ``folder``; returns the folder.

    Heads of 32 dimensions: the smallest that vLLM serves on CPU.

    Args:
        folder: made where it is missing.
        chat_template: jinja text in place of ChatML.
        seed: of the weights.
        max_position_embeddings: tokens of its longest sequence.
    """
    tokenizer = build_tokenizer(chat_template=chat_template or CHATML)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=max_position_embeddings,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    generator_state = torch.get_rng_state()
    torch.manual_seed(seed)
    network = LlamaForCausalLM(config)
    torch.set_rng_state(generator_state)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
