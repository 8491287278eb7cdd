"""One module a kind of task: what the platform does with it, asked through `base.KindBehaviour`."""
