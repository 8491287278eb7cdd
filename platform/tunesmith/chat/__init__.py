"""What the platform and a served model say to each other: who is asked, what, with which settings, and what comes back.

Knows values; knows nothing of HTTP, of Ray, or of OpenAI's forms.
"""
