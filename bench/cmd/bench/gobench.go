//go:build linux

package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/rollcall-go/rollcall/bench/internal/process"
)

// figures are what benchmarks of a package have reported: by their names without "Benchmark", and by the unit.
type figures struct {
	found   map[string]map[string]float64
	missing []string // that were asked for
}

// of returns a figure. One that is missing is an error of complete: it would meet every limit.
func (f *figures) of(name, unit string) float64 {
	v, ok := f.found[name][unit]
	if !ok {
		f.missing = append(f.missing, name+", "+unit)
	}
	return v
}

// complete returns an error if a figure is missing.
func (f *figures) complete() error {
	if len(f.missing) > 0 {
		return fmt.Errorf("no benchmark has reported %s", strings.Join(f.missing, "; "))
	}
	return nil
}

// goBench has go test run the benchmarks of a package whose names match a regular expression, on all processors, and adds what they report. dir
// is the module's, from the repository's root.
func (b *bench) goBench(f *figures, dir, pkg, names, benchtime string) error {
	out, err := process.Output(b.cpus, "go", "test", "-C", "../"+dir, "-run", "^$", "-bench", names, "-benchtime", benchtime, "-timeout", "30m", pkg)
	if err != nil {
		return err
	}
	if f.found == nil {
		f.found = make(map[string]map[string]float64)
	}
	for line := range strings.Lines(out) {
		words := strings.Fields(line)
		if len(words) < 4 || !strings.HasPrefix(words[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(words[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i > 0 { // the number of processors
			name = name[:i]
		}
		f.found[name] = make(map[string]float64)
		for i := 2; i+1 < len(words); i += 2 {
			if f.found[name][words[i+1]], err = strconv.ParseFloat(words[i], 64); err != nil {
				return fmt.Errorf("%s: %w", words[0], err)
			}
		}
	}
	return nil
}
