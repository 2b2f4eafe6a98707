"""Fine-tuning: from chats to a LoRA adapter."""
