//go:build linux

package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/rollcall-go/rollcall/bench/internal/process"
)

// figures are what benchmarks of a package have reported: by their names without "Benchmark", and by the unit.
type figures map[string]map[string]float64

// goBench has go test run the benchmarks of a package whose names match a regular expression, on all processors. dir is the module's, from
// the repository's root.
func (b *bench) goBench(dir, pkg, names, benchtime string) (figures, error) {
	out, err := process.Output(b.cpus, "go", "test", "-C", "../"+dir, "-run", "^$", "-bench", names, "-benchtime", benchtime, "-timeout", "30m", pkg)
	if err != nil {
		return nil, err
	}
	found := make(figures)
	for line := range strings.Lines(out) {
		words := strings.Fields(line)
		if len(words) < 4 || !strings.HasPrefix(words[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(words[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i > 0 { // the number of processors
			name = name[:i]
		}
		found[name] = make(map[string]float64)
		for i := 2; i+1 < len(words); i += 2 {
			if found[name][words[i+1]], err = strconv.ParseFloat(words[i], 64); err != nil {
				return nil, fmt.Errorf("%s: %w", words[0], err)
			}
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no benchmark of %s is called %s", pkg, names)
	}
	return found, nil
}

// join adds the figures of others.
func (f figures) join(others figures) {
	for name, of := range others {
		f[name] = of
	}
}
