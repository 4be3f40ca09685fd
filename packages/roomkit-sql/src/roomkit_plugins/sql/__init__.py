"""What stores of RoomKit in SQL databases share; nothing here knows a database.

Import the module you need; nothing is imported until then.
"""
