"""Looking at results: figures for papers, HoloViews objects, the dashboard; nothing of it is
loaded before it is asked for.
"""
