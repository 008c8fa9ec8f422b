//go:build linux

// Bench measures Rollcall beside gnet alone, zinx, nbio, plain goroutines and C, on loopback, and writes what it finds to
// docs/benchmarks.md. Run it in bench/, on a machine that has nothing else to do:
//
//	go run ./cmd/bench              everything; about an hour
//	go run ./cmd/bench -short       rough figures, in under three minutes; nothing is written
//	go run ./cmd/bench -only push   some of the tables; the others stay in the document as they are
//	go run ./cmd/bench -only before -before DIR   beside an earlier version; DIR is its checkout
//	go run ./cmd/bench -only before -before DIR -cells '4 under way' -pairs 3   some of that table's cells; nothing is written
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rollcall-go/rollcall/bench/internal/process"
	"github.com/rollcall-go/rollcall/bench/internal/report"
)

// table is one of the benchmarks.
type table struct {
	name  string // for -only
	title string
	run   func(*bench) (report.Section, error)
}

// They are in the order of the document.
var tables = []table{
	{"echo", "Echo", echo},
	{"latency", "Latency", latency},
	{"push", "Push", push},
	{"broadcast", "Broadcast", broadcast},
	{"memory", "Idle memory", memory},
	{"churn", "Churn", churn},
	{"relogon", "Relogon storm", relogon},
	{"users", "The user manager alone", userManager},
	{"loops", "Event loops", loops},
	{"websocket", "WebSocket", webSockets},
	{"datagrams", "Datagrams", datagrams},
	{"guard", "A node of a cluster", guard},
	{"cluster", "A cluster's store", clusterStore},
	{"mesh", "Between a cluster's nodes", clusterMesh},
	{"presence", "Presence", withPresence},
	{"chat", "Kept messages", keptMessages},
	{"before", "Before and after", beforeAndAfter},
}

// bench is what all benchmarks share.
type bench struct {
	short  bool
	pairs  int           // runs of each server that are compared with those of the others
	warmUp time.Duration // of a run
	length time.Duration // of the measured part of a run

	rounds int                     // of the present table, where servers alternate
	dir    string                  // where the programs are
	commit string                  // read before the tables change the documents
	noC    string                  // why there is no C server; empty when there is
	before string                  // a checkout of an earlier version; empty without
	cells  *regexp.Regexp          // which cells of the table before are measured
	cpus   []int                   // the servers' first, the generator's last
	charts map[string]report.Chart // by file name
}

func init() {
	runtime.LockOSThread() // the load generator is this thread, and the servers end with it
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	b := &bench{charts: make(map[string]report.Chart)}
	flag.BoolVar(&b.short, "short", false, "rough figures, in under three minutes")
	flag.IntVar(&b.pairs, "pairs", 0, "runs of each server; 0 means 15, or 3 with -short")
	only := flag.String("only", "", "the tables to make, with commas between: "+names())
	flag.StringVar(&b.before, "before", "", "a checkout of an earlier version, for the table before")
	cells := flag.String("cells", "", "of the table before, only the cells that match this regular expression; nothing is written then")
	docs := flag.String("docs", "", `where to write; empty means ../docs, or nowhere with -short`)
	flag.Parse()
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	if b.cells, err = regexp.Compile(*cells); err != nil {
		return fmt.Errorf("-cells: %w", err)
	}
	b.warmUp, b.length = 200*time.Millisecond, time.Second
	if b.short {
		b.warmUp, b.length = 50*time.Millisecond, 200*time.Millisecond
	} else if *docs == "" && *cells == "" {
		*docs = filepath.Join("..", "docs")
	}
	if b.pairs <= 0 {
		b.pairs = b.either(15, 3)
	}
	b.cpus, b.commit = process.Processors(), commit()

	if b.dir, err = os.MkdirTemp("", "rollcall-bench-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(b.dir) }()
	go func() { // the servers end with this process
		interrupted := make(chan os.Signal, 1)
		signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
		<-interrupted
		_ = os.RemoveAll(b.dir)
		os.Exit(1)
	}()
	if err := b.build(); err != nil {
		return err
	}
	head := b.head()
	fmt.Println(head + "\n")
	if err := process.PinSelf(b.cpus[len(b.cpus)-1]); err != nil {
		return err
	}
	return b.runTables(chosen, head, *docs)
}

// runTables makes the tables one by one. Each is written at once, so that it is kept when a later one fails.
func (b *bench) runTables(chosen []table, head, docs string) error {
	var titles []string
	for _, t := range tables {
		titles = append(titles, t.title)
	}
	for _, t := range chosen {
		began := startOfTable()
		b.rounds = 0
		section, err := t.run(b)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		section.Title = t.title
		section.Intro = strings.TrimSpace(section.Intro) + "\n\n" + b.provenance(began)
		fmt.Println(section)
		if docs == "" {
			continue
		}
		err = report.WriteDocument(filepath.Join(docs, "benchmarks.md"), head, titles, []report.Section{section})
		if err != nil {
			return err
		}
		for name, chart := range b.charts {
			if err := os.WriteFile(filepath.Join(docs, name), []byte(chart.SVG()), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// either returns full, or short with -short.
func (b *bench) either(full, short int) int {
	if b.short {
		return short
	}
	return full
}

func names() string {
	var all []string
	for _, t := range tables {
		all = append(all, t.name)
	}
	return strings.Join(all, ",")
}

func choose(only string) ([]table, error) {
	if only == "" {
		return slices.DeleteFunc(slices.Clone(tables), func(t table) bool { return t.name == "before" }), nil
	}
	var chosen []table
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(tables, func(t table) bool { return t.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no table %q; there are %s", name, names())
		}
		chosen = append(chosen, tables[i])
	}
	return chosen, nil
}
