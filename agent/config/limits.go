package config

import (
	"bytes"
	"io"
	"os"

	"github.com/stepwatch/stepwatch/steps/limit"
)

// The limits of the file. The YAML library needs time that grows with the square of the levels, and of the keys beside each
// other: 4000 of either take 30 to 80 MB.
var (
	bytesLimit  = limit.Define(limit.Limit{Subject: "stepwatch.yml", What: "the file", Unit: "bytes", Most: 1 << 20})
	linesLimit  = limit.Define(limit.Limit{Subject: "stepwatch.yml", What: "the file", Unit: "lines", Most: 20_000})
	nestedLimit = limit.Define(limit.Limit{Subject: "stepwatch.yml", What: "a line", Unit: "levels of nested lists and mappings", Most: 100})
	valuesLimit = limit.Define(limit.Limit{Subject: "stepwatch.yml", What: "what is below here, with its aliases and merge keys filled in,", Unit: "values", Most: 100_000})
)

// readFile reads the file up to its limit and one byte more.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	return io.ReadAll(io.LimitReader(f, bytesLimit.Most+1))
}

// measure returns a mistake if a file is too large to be parsed.
func measure(path string, source []byte) *mistake {
	if int64(len(source)) > bytesLimit.Most {
		return &mistake{path, 1, 1, bytesLimit.Exceeded()}
	}
	number := 0
	for line := range bytes.Lines(source) {
		if number++; int64(number) > linesLimit.Most {
			return &mistake{path, number, 1, linesLimit.Exceeded()}
		}
		if n := nesting(line); n > nestedLimit.Most {
			return &mistake{path, number, 1, nestedLimit.Check(n)}
		}
	}
	return nil
}

// nesting returns how many lists and mappings a line may open at most: "- - x" or "[[{". What it takes for one in a text
// is less than the limit in any real file.
func nesting(line []byte) (most int64) {
	level := int64(0)
	for i, c := range line {
		switch c {
		case '-', '?', ':':
			if i+1 == len(line) || line[i+1] == ' ' || line[i+1] == '\t' {
				level++
			}
		case '[', '{':
			level++
		case ']', '}':
			level--
		}
		most = max(most, level)
	}
	return most
}
