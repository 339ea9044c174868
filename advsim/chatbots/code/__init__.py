"""The user's code behind a chatbot of kind ``python``: where its modules are found, and what its calls run on."""
