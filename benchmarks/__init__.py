"""What RoomKit costs, as ratios to hand-written floors measured in the same run."""
