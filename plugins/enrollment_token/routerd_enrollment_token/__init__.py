"""Join by a shared token: claims signed with HMAC-SHA256."""
