"""What people look at: server-rendered pages at /, behind the same tokens as the API.

`app.py`, read first, puts them together from `routes/`, `templates/` and `static/`. Nothing is
loaded from elsewhere, and a page that nobody has open costs nothing.
"""
