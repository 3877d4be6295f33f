#!/usr/bin/env python3
"""run.py [--check] [runs]: CPU time of the six programs beside PUC Lua 5.4, interleaved in one run.

The column `C++ 3.0.4` is the reference's measured time scaled to this machine: its time x Lua's fib now / Lua's fib then.
Build first: cargo build --release -p vouch-squirrel --example run. SQUIRREL names another interpreter.
Exit code 1 when an output is wrong or, with --check, a bound is broken.
"""
import math, os, resource, statistics, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(HERE, "../../target"))
OURS = os.environ.get("SQUIRREL", os.path.join(TARGET, "release/examples/run"))
LUA_FIB_THEN = 0.16
# Name: output, seconds of C++ 3.0.4 (x86-64 -O2) when Lua's fib took 0.16 s, most times Lua's (None: below C++).
PROGRAMS = {
    "fib": ("fib 2178309", 0.40, 2.0),
    "mandel": ("mandel 4544056", 0.36, 1.5),
    "strings": ("strings 5551880", 0.47, None),
    "tables": ("tables 15186811", 0.72, 2.0),
    "classes": ("classes 10153135", 0.31, None),
    "closures": ("closures 7062800", 0.28, None),
}


def cpu(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode().strip()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, out


def main():
    arguments = [a for a in sys.argv[1:] if a != "--check"]
    runs = int(arguments[0]) if arguments else 9
    ours, lua = {p: [] for p in PROGRAMS}, {p: [] for p in PROGRAMS}
    wrong = False
    for _ in range(runs):
        for program, (expected, _, _) in PROGRAMS.items():
            seconds, out = cpu([OURS, os.path.join(HERE, program + ".nut")])
            ours[program].append(seconds)
            if out != expected:
                print(f"{program}: printed {out!r}, expected {expected!r}", file=sys.stderr)
                wrong = True
            lua[program].append(cpu(["lua5.4", os.path.join(HERE, "../lua", program + ".lua")])[0])
    scale = statistics.median(lua["fib"]) / LUA_FIB_THEN
    print("| program | ours, s | Lua 5.4, s | ours / Lua | C++ 3.0.4 scaled, s | bound | |\n|---|---|---|---|---|---|---|")
    ratios = []
    for program, (_, reference, most) in PROGRAMS.items():
        mine, theirs = statistics.median(ours[program]), statistics.median(lua[program])
        ratio, reference = mine / theirs, reference * scale
        ratios.append(ratio)
        held = ratio <= most if most else mine < reference
        wrong |= "--check" in sys.argv and not held
        bound = f"{most} x Lua" if most else "below C++"
        print(f"| {program} | {mine:.3f} | {theirs:.3f} | {ratio:.2f} | {reference:.3f} | {bound} | {'ok' if held else 'MISSED'} |")
    print(f"\nGeometric mean of ours / Lua: {math.exp(statistics.mean(map(math.log, ratios))):.2f}; medians of {runs} runs, CPU time.")
    sys.exit(wrong)


main()
