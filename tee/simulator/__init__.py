"""Software roots in the place of the vendors': what they sign proves nothing about hardware."""
