"""From files to arrays: videos, labelled frames, masks, augmentation."""
