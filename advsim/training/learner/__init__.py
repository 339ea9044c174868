"""What runs on Ray Train's workers: SFT and DPO around TRL's trainers."""
