#!/usr/bin/env python3
"""Reads, cleans, tokenizes and splits a large made file with `gavel data` and with pandas + tokenizers.

The file is made anew from words of this Python's own library (their real frequencies), made-up words, digits, Unicode
of many scripts, JSON escapes, nulls, repeated prompts and rows, and several turns, in the LMSYS columns; it is deleted
at the end. Both programs do the same work with the same tokenizer: parse the CSV and the JSON cells, drop rows whose
answers are both null, count the oddities, render the reference notebook's text, tokenize, cut to max_length, describe the lengths,
and set 5 % aside, stratified by label, no prompt on both sides. Lengths, dropped rows and label counts are compared.

  tools/bench_data.py --gavel build/release/gavel --tokenizer tokenizer.json --rows 1000000 --peer-rows 100000

Needs pandas and tokenizers. Each program runs in a process of its own; memory is its largest resident set.
"""
import argparse, csv, json, os, pathlib, random, re, resource, shutil, subprocess, sys, tempfile, time

COLUMNS = ["id", "model_a", "model_b", "prompt", "response_a", "response_b",
           "winner_model_a", "winner_model_b", "winner_tie"]


def make_pool(generator, size):
    """Text to take pieces from: sentences, lists and code-like lines."""
    folder = pathlib.Path(os.__file__).parent
    words = []
    for path in sorted(folder.glob("*.py")):
        words += re.findall(r"[A-Za-z']+|[0-9]+|[^\sA-Za-z0-9]+", path.read_text(encoding="utf-8", errors="replace"))
    syllables = ["ka", "to", "mi", "ren", "sol", "ba", "qu", "ix", "pre", "dor", "una", "lem", "Z", "o'", "-"]
    scripts = ["абвгдежзиклмнопрстуфхцчшщыэюя", "的一是不了人我在有他这中大来上国", "あいうえおかきくけこさしすせそ",
               "가나다라마바사아자차카타파하", "אבגדהוזחטיכלמנסעפצקרשת", "ابتثجحخدذرزسشصضطظعغ", "αβγδεζηθικλμνξοπρστυ",
               "😀🎉🚀🤖👍🏽🇩🇪❤️", "éèêëàâîïôöùüçñß", "∑∫√≠≤≥∞→←“”—…"]
    pieces, length = [], 0
    while length < size:
        kind = generator.random()
        if kind < 0.93:
            start = generator.randrange(len(words) - 40)
            piece = " ".join(words[start:start + generator.randrange(5, 40)])
        elif kind < 0.96:
            piece = "".join(generator.choices(syllables, k=generator.randrange(2, 8)))
        else:
            piece = "".join(generator.choices(generator.choice(scripts), k=generator.randrange(2, 30)))
        piece += generator.choices([" ", "\n", "\n\n", ". ", "\t", "\r\n", ' "quoted" ', " \\frac{1}{2} "],
                                   weights=[60, 12, 8, 20, 1, 1, 1, 1])[0]
        pieces.append(piece)
        length += len(piece)
    return "".join(pieces)


def make_file(path, rows, seed):
    """About 3 KB a row, as LMSYS rows have; a pure function of rows and seed (and of this Python's version)."""
    generator = random.Random(seed)
    pool = make_pool(generator, 16 << 20)

    def text(mean):
        length = min(int(generator.expovariate(1 / mean)) + 1, 40 * mean)
        start = generator.randrange(len(pool) - length)
        return pool[start:start + length]

    def cell(turns):
        # A lone surrogate now and then, as the competition's files have them.
        out = json.dumps(turns, separators=(",", ":"), ensure_ascii=generator.random() < 0.5)
        return out[:-2] + '\\ud83d"]' if turns[-1] and generator.random() < 0.002 else out

    prompts, last = [], None
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in range(rows):
            if last is not None and generator.random() < 0.001:
                writer.writerow([row] + last)
                continue
            turns = 1 if generator.random() < 0.86 else generator.randrange(2, 6)
            if prompts and generator.random() < 0.05:
                prompt = generator.choice(prompts)
            else:
                prompt = [text(300 // turns + 20) for _ in range(turns)]
                if len(prompts) < 20000:
                    prompts.append(prompt)
            a, b = ([text(1250 // turns) for _ in prompt] for _ in range(2))
            odd = generator.random()
            if odd < 0.001:
                a, b = [None] * len(a), [None] * len(b)
            elif odd < 0.003:
                a[0] = None
            elif odd < 0.005:
                b = [""]
            winner = generator.choices([0, 1, 2], weights=[35, 34, 31])[0]
            last = ["m", "n", cell(prompt), cell(a), cell(b)] + [int(winner == i) for i in range(3)]
            writer.writerow([row] + last)


def peer(path, rows, tokenizer_path, max_length):
    """The same with pandas + tokenizers, as one writes it: whole columns, batches on all cores."""
    import numpy, pandas, tokenizers
    start = time.time()
    frame = pandas.read_csv(path, nrows=rows)
    read = time.time() - start
    surrogate = re.compile("[\ud800-\udfff]")

    def parse(cell):
        return [surrogate.sub("\ufffd", turn) if turn else "" for turn in json.loads(cell)]

    nulls = frame.response_a.str.fullmatch(r"\[null(,null)*\]") & frame.response_b.str.fullmatch(r"\[null(,null)*\]")
    oddities = {"both_null": int(nulls.sum()),
                "duplicate": int(frame.duplicated(COLUMNS[3:]).sum()),
                "label_sum": int((frame[COLUMNS[6:]].sum(axis=1) != 1).sum())}
    frame = frame[~nulls]
    turns = {name: [parse(cell) for cell in frame[name]] for name in COLUMNS[3:6]}
    oddities["unequal_turns"] = sum(len(p) != len(a) or len(p) != len(b) for p, a, b in zip(*turns.values()))
    oddities["identical_answers"] = oddities["both_null"] + sum(
        a == b for a, b in zip(turns["response_a"], turns["response_b"]))
    joined = {name: [" ".join(cell) for cell in cells] for name, cells in turns.items()}
    texts = [f"User prompt: {p}\n\nModel A :\n{a}\n\n--------\n\nModel B:\n{b}" for p, a, b in zip(*joined.values())]
    cleaned = time.time() - start
    tokenizer = tokenizers.Tokenizer.from_file(tokenizer_path)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    lengths, kept = [], []
    for at in range(0, len(texts), 4096):
        for encoding in tokenizer.encode_batch(texts[at:at + 4096], add_special_tokens=True):
            ids = encoding.ids
            lengths.append(len(ids))
            kept.append(numpy.array(ids[:max_length], dtype=numpy.int32))
    tokenized = time.time() - start
    # Stratified by label, whole prompts: groups in random order, each to validation while its label has room.
    labels = frame[COLUMNS[6:]].to_numpy().argmax(axis=1)
    groups = pandas.Series(range(len(texts))).groupby(joined["prompt"]).indices
    wanted = numpy.bincount(labels, minlength=3) * 0.05
    valid, order = [], list(groups.values())
    random.Random(1).shuffle(order)
    for rows_of in order:
        counts = numpy.bincount(labels[rows_of], minlength=3)
        if (counts <= wanted).all():
            wanted -= counts
            valid.extend(rows_of)
    train = numpy.setdiff1d(numpy.arange(len(texts)), valid)
    described = pandas.Series(lengths).describe(percentiles=[.25, .5, .75, .9, .95, .99])
    return {"seconds": time.time() - start, "read": read, "clean": cleaned - read, "tokenize": tokenized - cleaned,
            "rows": len(texts), "valid": len(valid), "train": len(train), "oddities": oddities,
            "tokens": {k: float(v) for k, v in described.items()},
            "labels": [int(v) for v in numpy.bincount(labels, minlength=3)],
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}


def run_gavel(gavel, path, tokenizer, max_length, cache):
    environment = dict(os.environ, XDG_CACHE_HOME=str(cache))
    # Packages lie in the cache folder too; only a tokenizer is needed here.
    command = [gavel, "data", str(path), f"model.tokenizer={tokenizer}", f"data.max_length={max_length}",
               "data.valid=0.05", "--json", "--examples", "0"]
    start = time.time()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(command)}: status {status}")
    return json.loads(out), time.time() - start, usage.ru_maxrss


def first_rows(source, target, rows):
    """The header and the first rows, quoted newlines respected."""
    with open(source, encoding="utf-8", newline="") as file, open(target, "w", encoding="utf-8", newline="") as out:
        reader, writer = csv.reader(file), csv.writer(out, lineterminator="\n")
        for _, record in zip(range(rows + 1), reader):
            writer.writerow(record)


def show(name, rows, size, seconds, peak):
    print(f"{name:<34}{rows:>10,} rows {size / 1e6:>8,.0f} MB {seconds:>8.1f} s {rows / seconds:>10,.0f} rows/s "
          f"{size / 1e6 / seconds:>7.1f} MB/s {peak / 1024:>7,.0f} MiB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gavel", default="build/release/gavel")
    parser.add_argument("--tokenizer", help="a tokenizer.json that both programs read")
    parser.add_argument("--rows", type=int, default=1000000)
    parser.add_argument("--peer-rows", type=int, default=100000, help="both programs are compared on these first rows")
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", help="where the file is made (default: a temporary folder)")
    parser.add_argument("--file", help="a file made before: neither made nor deleted")
    parser.add_argument("--make", help="only make this file")
    parser.add_argument("--skip-peer", action="store_true")
    parser.add_argument("--peer", nargs=3, metavar=("FILE", "ROWS", "TOKENIZER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    csv.field_size_limit(1 << 30)
    if options.peer:
        path, rows, tokenizer = options.peer
        print(json.dumps(peer(path, int(rows), tokenizer, options.max_length)))
        return
    if options.make:
        make_file(options.make, options.rows, options.seed)
        return
    if not options.tokenizer:
        parser.error("--tokenizer: which tokenizer.json?")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="gavel_bench_data_", dir=options.folder))
    try:
        path = pathlib.Path(options.file) if options.file else folder / "rows.csv"
        if not options.file:
            start = time.time()
            make_file(path, options.rows, options.seed)
            print(f"made {path.stat().st_size / 1e9:.2f} GB in {time.time() - start:.0f} s", flush=True)
        size = path.stat().st_size
        found, seconds, peak = run_gavel(options.gavel, path, options.tokenizer, options.max_length, folder / "cache")
        show("gavel data, nothing cached", options.rows, size, seconds, peak)
        found, seconds, peak = run_gavel(options.gavel, path, options.tokenizer, options.max_length, folder / "cache")
        show("gavel data, tokens from the cache", options.rows, size, seconds, peak)
        shutil.rmtree(folder / "cache")
        if options.skip_peer:
            return
        part = folder / "part.csv"
        first_rows(path, part, options.peer_rows)
        size = part.stat().st_size
        ours, seconds, peak = run_gavel(options.gavel, part, options.tokenizer, options.max_length, folder / "cache")
        show("gavel data, nothing cached", options.peer_rows, size, seconds, peak)
        out = subprocess.run([sys.executable, __file__, "--max-length", str(options.max_length), "--peer", str(part),
                              str(options.peer_rows), options.tokenizer], check=True, stdout=subprocess.PIPE)
        theirs = json.loads(out.stdout)
        show("pandas + tokenizers", options.peer_rows, size, theirs["seconds"], theirs["peak"])
        print(f"  of that: read {theirs['read']:.1f} s, clean {theirs['clean']:.1f} s, "
              f"tokenize {theirs['tokenize']:.1f} s")
        print(f"ratio {theirs['seconds'] / seconds:.1f}")
        compare(ours, theirs)
    finally:
        shutil.rmtree(folder)


def compare(ours, theirs):
    """The same rows, labels, oddities and lengths; the validation shares differ as the ways to split do."""
    sides = [ours["train"], ours["valid"]]
    rows = sum(side["rows"] for side in sides)
    labels = [sum(side["labels"][key] for side in sides) for key in ("a", "b", "tie")]
    mean = sum(side["tokens"]["mean"] * side["rows"] for side in sides) / rows
    problems = []
    if rows != theirs["rows"]:
        problems.append(f"rows {rows} and {theirs['rows']}")
    if labels != theirs["labels"]:
        problems.append(f"labels {labels} and {theirs['labels']}")
    if abs(mean - theirs["tokens"]["mean"]) > 1e-6:
        problems.append(f"mean length {mean} and {theirs['tokens']['mean']}")
    if max(side["tokens"]["max"] for side in sides) != theirs["tokens"]["max"]:
        problems.append("the longest row")
    for key, count in theirs["oddities"].items():
        if ours["cleaning"]["oddities"][key]["rows"] != count:
            problems.append(f"{key}: {ours['cleaning']['oddities'][key]['rows']} and {count}")
    print(f"validation rows {ours['valid']['rows']} and {theirs['valid']}; mean length {mean:.4f}")
    print("different: " + "; ".join(problems) if problems else "rows, labels, oddities and lengths are the same")
    if problems:
        sys.exit(1)


if __name__ == "__main__":
    main()
