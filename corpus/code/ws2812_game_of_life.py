"""Conway's game of life on an 8x8 WS2812 matrix; cells change their colour with age.

Wiring (Raspberry Pi Pico): matrix DIN to GP6, 5V to VBUS, GND to GND.
"""
import random
import time
from machine import Pin
from neopixel import NeoPixel

SIZE = 8
STEP_MS = 250
MAX_GENERATIONS = 400
# Many matrices are wired like a snake: every second row runs backwards.
SNAKE = True

# Colour of a cell by its age in generations; the last one is for all older cells.
AGES = ((0, 40, 40), (0, 40, 10), (10, 35, 0), (30, 20, 0), (40, 5, 0), (25, 0, 25))

GLIDER = (
    "........",
    "..#.....",
    "...#....",
    ".###....",
    "........",
    "........",
    "........",
    "........",
)


def pixel_index(x, y):
    if SNAKE and y % 2:
        x = SIZE - 1 - x
    return y * SIZE + x


def from_picture(rows):
    """Turn rows of text into a list of integers, one per row, one bit per cell."""
    world = []
    for row in rows:
        bits = 0
        for mark in row:
            bits = bits << 1 | (mark == "#")
        world.append(bits)
    return world


def random_world(density=3):
    """About `density` of eight cells are alive."""
    world = []
    for _ in range(SIZE):
        bits = 0
        for _ in range(SIZE):
            bits = bits << 1 | (random.getrandbits(3) < density)
        world.append(bits)
    return world


def alive(world, x, y):
    # The edges are glued together, so a glider never leaves the matrix.
    return world[y % SIZE] >> (SIZE - 1 - x % SIZE) & 1


def next_world(world):
    fresh = []
    for y in range(SIZE):
        bits = 0
        for x in range(SIZE):
            neighbours = -alive(world, x, y)
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    neighbours += alive(world, x + dx, y + dy)
            lives = neighbours == 3 or (neighbours == 2 and alive(world, x, y))
            bits = bits << 1 | lives
        fresh.append(bits)
    return fresh


def show(matrix, world, ages):
    """Draw the world and let the cells grow older."""
    for y in range(SIZE):
        for x in range(SIZE):
            i = pixel_index(x, y)
            if alive(world, x, y):
                matrix[i] = AGES[min(ages[i], len(AGES) - 1)]
                ages[i] = min(ages[i] + 1, 255)
            else:
                matrix[i] = (0, 0, 0)
                ages[i] = 0
    matrix.write()


def play(matrix, world):
    """Run until nothing new happens; return the number of generations."""
    ages = bytearray(SIZE * SIZE)
    seen = {}
    for generation in range(MAX_GENERATIONS):
        show(matrix, world, ages)
        time.sleep_ms(STEP_MS)
        key = bytes(world)
        if key in seen:
            # A still life or a loop: let it turn a little, then stop.
            if seen[key] >= 3:
                return generation
            seen[key] += 1
        else:
            seen[key] = 1
        world = next_world(world)
    return MAX_GENERATIONS


def main():
    matrix = NeoPixel(Pin(6, Pin.OUT), SIZE * SIZE)
    world = from_picture(GLIDER)
    try:
        while True:
            print("lasted", play(matrix, world), "generations")
            world = random_world()
    finally:
        matrix.fill((0, 0, 0))
        matrix.write()


main()
