//go:build linux

package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rollcall-go/rollcall/bench/internal/process"
)

// figures are what benchmarks of a package have reported in each run: by their names without "Benchmark", and by the unit.
type figures struct {
	found   map[string]map[string][]float64
	missing []string // that were asked for
}

// of returns the median of a figure. One that is missing is an error of complete: it would meet every limit.
func (f *figures) of(name, unit string) float64 {
	all := slices.Sorted(slices.Values(f.found[name][unit]))
	if len(all) == 0 {
		f.missing = append(f.missing, name+", "+unit)
		return 0
	}
	return all[len(all)/2]
}

// complete returns an error if a figure is missing.
func (f *figures) complete() error {
	if len(f.missing) > 0 {
		return fmt.Errorf("no benchmark has reported %s", strings.Join(f.missing, "; "))
	}
	return nil
}

// goBench has go test run the benchmarks of a package whose names match a regular expression three times, on all processors, and adds what they
// report. dir is the module's, from the repository's root.
func (b *bench) goBench(f *figures, dir, pkg, names, benchtime string) error {
	out, err := process.Output(b.cpus, "go", "test", "-C", "../"+dir, "-run", "^$", "-bench", names, "-benchtime", benchtime, "-count", "3", "-timeout", "30m", pkg)
	if err != nil {
		return err
	}
	if f.found == nil {
		f.found = make(map[string]map[string][]float64)
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
		if f.found[name] == nil {
			f.found[name] = make(map[string][]float64)
		}
		for i := 2; i+1 < len(words); i += 2 {
			v, err := strconv.ParseFloat(words[i], 64)
			if err != nil {
				return fmt.Errorf("%s: %w", words[0], err)
			}
			f.found[name][words[i+1]] = append(f.found[name][words[i+1]], v)
		}
	}
	return nil
}
