"""Tables that nobody need hold in memory: sources whose rows come in blocks."""

from agop.blocks.arrays import ArrayBlocks
from agop.blocks.block import Block, Blocks
from agop.blocks.opening import open_blocks

__all__ = ["ArrayBlocks", "Block", "Blocks", "open_blocks"]
