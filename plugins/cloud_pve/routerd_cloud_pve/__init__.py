"""The fabric `pve`: guests of a Proxmox VE host learn remote addresses through the guest agent."""
