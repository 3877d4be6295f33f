#!/usr/bin/env python3
"""From the start of a device's loader to its first attempt to connect, with an OS image of 10 MB: benches/power_on.py VOUCH OS_IMAGE

Runs the demonstration once, which makes devices that demand l1+l2 (keys in files), then boots one of them again and again. A listener
stands where its server was; the time ends when it accepts. The page cache is warm. Memory is locked where this user may lock 10 MB.
"""
import json, os, pathlib, signal, socket, statistics, subprocess, sys, tempfile, time

ROUNDS, BYTES = 30, 10_000_000
vouch, image = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])

with tempfile.TemporaryDirectory(prefix="vouch-power-on-") as root:
    root = pathlib.Path(root)
    padded = root / "image"
    # Bytes behind its end do not matter to an ELF file.
    padded.write_bytes(image.read_bytes().ljust(BYTES, b"\0"))
    # Without swtpm in its path the demonstration keeps keys in files.
    demo = [vouch, "demo", "--once", "--dir", root / "demo", "--os-image", padded]
    subprocess.run(demo, check=True, env={**os.environ, "PATH": "/nowhere"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    places = json.loads((root / "demo" / "demo.json").read_text())
    times = []
    with socket.create_server((places["open"], places["ports"][0])) as listener:
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            device = subprocess.Popen([vouch, "device", "boot", "--danger-unlocked-memory", "--dir", root / "demo" / "device-modern"],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            listener.accept()[0].close()
            times.append((time.perf_counter() - begun) * 1000)
            device.send_signal(signal.SIGTERM)
            device.wait()

times.sort()
print(f"power-on to first connect attempt, image of {BYTES // 1_000_000} MB, ms: {statistics.median(times):.1f} ({times[0]:.1f} - {times[-1]:.1f}), {ROUNDS} starts")
