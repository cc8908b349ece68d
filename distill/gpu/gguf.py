"""What a loaded GGUF file says about itself."""

import llama_cpp


def control_tokens(llama: llama_cpp.Llama) -> list[str]:
    """Return the control tokens of a model's vocabulary, which text must not contain."""
    vocab = llama_cpp.llama_model_get_vocab(llama._model.model)  # noqa: SLF001  # no public way
    numbers = range(llama_cpp.llama_vocab_n_tokens(vocab))
    control = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL
    return [
        llama_cpp.llama_vocab_get_text(vocab, number).decode()
        for number in numbers
        if llama_cpp.llama_vocab_get_attr(vocab, number) & control
    ]
