"""Models and chatbots behind HTTP: what is sent, what is read of an answer, and what a failed call means."""
