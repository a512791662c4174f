"""A leaf enrolls: it signs its claim, keeps every reflector accepting it, and learns who they are.

The reflector's side is in `admission`; the HTTP client is `control.enroll_client`.
"""
