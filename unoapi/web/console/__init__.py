"""The console: pages that show where every message is, and mend what is broken.

- `pages`: joins the pages; what holds for all of them: CSRF, the language, error pages, the policy for browsers
- `access`: who is logged in, the decorators of the views; `login`: the pages to log in and out
- `view`: what a page needs to answer; `words`: its texts, one file for each language in `words/`
- one module for each page, its templates in `templates/console/`, what browsers load in `static/`
"""
