"""What Gristmill means by its words: pure values and rules, no I/O, no clock, no asyncio."""
