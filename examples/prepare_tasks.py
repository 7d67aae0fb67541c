"""From public files to what the tasks read: tables and folders, each in a part to train on and one to test with.

    python examples/prepare_tasks.py names data/names prepared
    recurra train --task classify prepared/names.train.tsv

    task      SOURCE                                    what is made of it
    names     folder of Language.txt, a name per line   names.{train,test}.tsv: which language is a name of? As usual,
                                                        entries are drawn, and the same name may stand on both sides:
                                                        not so in names-apart.{train,test}.tsv
    digits    recordings.zip of free-spoken-digit       fsdd/{train,test}/*.wav: which digit is spoken?
    addition  addition.txt, 16+75  _91                  addition.{train,test}.tsv: what is the sum?
    french    eng-fra.txt.gz, English TAB French        eng-fra.{train,test}.tsv: at most ten English words
    case      a text, such as all of Shakespeare        case.{train,valid,test}.jsonl: which letters are capitals?
    emoji     folder of captions.tsv, images-32px.zip   emoji/{train,valid,test}.tsv and pictures: what do they show?
    mnist     folder of t10k-*-ubyte.gz                 mnist/{train,test}.tsv and pictures: the name of a digit

What is drawn is drawn with a fixed seed. Parts share no other input: equal English sentences and the variants of
one emoji stay together. Digits are split as their authors do, recordings 0 to 4 of each speaker being the test.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import zipfile
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

SEED = 20
MOST_WORDS, BLOCK = 10, 400
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PEOPLE = re.compile(r"\b(man|woman|person|men|women|people|boy|girl|child|adult)\b(?!’)")


def write_table(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    lines = ["\t".join(row) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8", newline="\n")
    print(f"{path}: {len(lines):,} examples")


def draw(items: Iterable, share: float) -> set:
    """Return a share of the distinct items, always the same ones."""
    distinct = sorted(set(items))
    return set(random.Random(SEED).sample(distinct, round(len(distinct) * share)))


def in_parts(items: Sequence, *shares: float) -> list[Sequence]:
    """Cut a sequence into consecutive parts."""
    cuts = [round(len(items) * sum(shares[:n])) for n in range(len(shares) + 1)]
    return [items[start:stop] for start, stop in pairwise(cuts)]


def names(source: Path, out: Path) -> None:
    train, test, apart, seen = [], [], set(), set()
    for path in sorted(source.glob("*.txt")):
        own = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        chosen = draw(set(range(len(own))), 0.2)
        train += [(name, path.stem) for number, name in enumerate(own) if number not in chosen]
        test += [(name, path.stem) for number, name in enumerate(own) if number in chosen]
        apart |= draw(set(own) - seen, 0.2)  # a name that two languages have is drawn once
        seen |= set(own)
    write_table(out / "names.train.tsv", train)
    write_table(out / "names.test.tsv", test)
    write_table(out / "names-apart.train.tsv", [row for row in train + test if row[0] not in apart])
    write_table(out / "names-apart.test.tsv", [row for row in train + test if row[0] in apart])


def digits(source: Path, out: Path) -> None:
    with zipfile.ZipFile(source) as archive:
        for member in archive.namelist():
            name = Path(member).name
            if name.endswith(".wav"):
                part = "test" if int(Path(name).stem.split("_")[2]) < 5 else "train"
                (out / "fsdd" / part).mkdir(parents=True, exist_ok=True)
                (out / "fsdd" / part / name).write_bytes(archive.read(member))
    for part in ("train", "test"):
        print(f"{out / 'fsdd' / part}: {len(list((out / 'fsdd' / part).glob('*.wav'))):,} examples")


def addition(source: Path, out: Path) -> None:
    sums = [line.split("_") for line in source.read_text().splitlines()]
    rows = [(question.strip(), answer.strip()) for question, answer in sums]
    np.random.RandomState(1984).shuffle(rows)
    train, test = in_parts([tuple(row) for row in rows], 0.9, 0.1)
    write_table(out / "addition.train.tsv", train)
    write_table(out / "addition.test.tsv", test)


def french(source: Path, out: Path) -> None:
    # White space that is not plain, such as U+202F before a question mark, is kept.
    lines = gzip.decompress(source.read_bytes()).decode("utf-8").removesuffix("\n").split("\n")
    rows = [tuple(line.split("\t")[:2]) for line in lines]
    rows = [row for row in rows if len(row[0].split()) <= MOST_WORDS]
    test = draw((english for english, _ in rows), 0.05)
    first = {english: translation for english, translation in reversed(rows) if english in test}
    write_table(out / "eng-fra.train.tsv", [row for row in rows if row[0] not in test])
    write_table(out / "eng-fra.test.tsv", [(english, first[english]) for english in sorted(first)])


def case(source: Path, out: Path) -> None:
    blocks = [""]
    for line in source.read_text(encoding="utf-8").splitlines(keepends=True):
        if len(blocks[-1]) + len(line) > BLOCK and blocks[-1]:
            blocks.append("")
        blocks[-1] += line
    blocks = [block for block in blocks if block.strip()]
    for part, chosen in zip(("train", "valid", "test"), in_parts(blocks, 0.8, 0.1, 0.1), strict=True):
        path = out / f"case.{part}.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for block in chosen:
                capitals = "".join("U" if character.isupper() else "-" for character in block)
                file.write(json.dumps({"tokens": block.lower(), "labels": capitals}) + "\n")
        print(f"{path}: {len(chosen):,} examples")


def base_caption(caption: str) -> str:
    """Return what is left of a caption without colours of skin and sex: ``man cook: dark skin tone`` -> ``cook``."""
    shown, _, details = caption.partition(": ")
    shown = " ".join(PEOPLE.sub("", shown).split()).removeprefix("and ")
    kept = [PEOPLE.sub("", detail).strip() for detail in details.split(", ") if not detail.endswith("skin tone")]
    return ": ".join(filter(None, [shown, ", ".join(filter(None, kept))])) or "person"


def emoji(source: Path, out: Path) -> None:
    lines = (source / "captions.tsv").read_text(encoding="utf-8").splitlines()
    pictures: dict[str, str] = {}
    for file, caption in sorted((line.split("\t") for line in lines), key=lambda row: "skin tone" in row[1]):
        pictures.setdefault(base_caption(caption), file)
    (out / "emoji" / "images").mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(source / "images-32px.zip") as archive:
        for file in pictures.values():
            (out / "emoji" / "images" / file).write_bytes(archive.read(f"images/{file}"))
    rows = [(f"images/{file}", caption) for caption, file in sorted(pictures.items())]
    random.Random(SEED).shuffle(rows)
    for part, chosen in zip(("train", "valid", "test"), in_parts(rows, 0.8, 0.1, 0.1), strict=True):
        write_table(out / "emoji" / f"{part}.tsv", chosen)


def mnist(source: Path, out: Path) -> None:
    from PIL import Image

    images = gzip.decompress((source / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((source / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    _, count, height, width = np.frombuffer(images, ">i4", 4)
    points = np.frombuffer(images, np.uint8, offset=16).reshape(count, height, width)
    (out / "mnist" / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (picture, label) in enumerate(zip(points, labels, strict=True)):
        rows.append((f"images/{number:05d}.png", DIGITS[label]))
        Image.fromarray(picture).save(out / "mnist" / rows[-1][0])
    train, test = in_parts(rows, 0.9, 0.1)
    write_table(out / "mnist" / "train.tsv", train)
    write_table(out / "mnist" / "test.tsv", test)


TASKS = {task.__name__: task for task in (names, digits, addition, french, case, emoji, mnist)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Turn public files into what the tasks read.")
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    TASKS[arguments.task](arguments.source, arguments.out)


if __name__ == "__main__":
    main()
