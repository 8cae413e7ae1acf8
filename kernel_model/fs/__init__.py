"""Files: what they are (`inode`), what they are called (`dentry`, `namei`), and how they are open (`file`)."""
