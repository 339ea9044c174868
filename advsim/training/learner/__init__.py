"""SFT and DPO on Ray Train's workers, around TRL's trainers."""
