package report

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTableIsAligned(t *testing.T) {
	table := Table{Head: []string{"server", "rate"}}
	table.Row("gnet", "1,000")
	table.Row("µ", "7")
	want := "| server |  rate |\n|--------|------:|\n| gnet   | 1,000 |\n| µ      |     7 |\n"
	if got := table.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestCount(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 999: "999", 1000: "1,000", 1234567.8: "1,234,568", -1000: "-1,000"} {
		if got := Count(v); got != want {
			t.Errorf("Count(%v) is %s, want %s", v, got, want)
		}
	}
}

func TestTargetsStandBesideTheMinimalProgram(t *testing.T) {
	without := Section{Title: "A", Targets: []Target{{What: "x", Must: "1", Measured: "2", Met: true}}}.String()
	if strings.Contains(without, "minimal") {
		t.Errorf("nothing is said of a minimal program, but there is:\n%s", without)
	}
	with := Section{Title: "A", Targets: []Target{
		{What: "x", Must: "≥ 5", Measured: "2", Minimal: &Minimal{"4", false, "0.5"}},
		{What: "y", Must: "≥ 1", Measured: "2", Met: true},
	}}.String()
	want := "## A\n\n\n\n" +
		"| target | must be |  is | met | minimal is | met | Rollcall ÷ minimal |\n" +
		"|--------|--------:|----:|----:|-----------:|----:|-------------------:|\n" +
		"| x      |     ≥ 5 |   2 |  no |          4 |  no |                0.5 |\n" +
		"| y      |     ≥ 1 |   2 | yes |            |     |                    |\n\n\n"
	if with != want {
		t.Errorf("got\n%q\nwant\n%q", with, want)
	}
}

func TestSectionsThatWereNotMeasuredAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "benchmarks.md")
	order := []string{"Echo", "Push"}
	write := func(head string, sections ...Section) {
		if err := WriteDocument(path, head, order, sections); err != nil {
			t.Fatal(err)
		}
	}
	write("# Old", Section{Title: "Push", Body: "push, old"}, Section{Title: "Echo", Body: "echo, old"})
	write("# New", Section{Title: "Push", Body: "push, new"})
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := -1
	for _, part := range []string{"# New", "## Echo", "echo, old", "## Push", "push, new"} {
		i := strings.Index(string(b), part)
		if i <= at {
			t.Errorf("%q is not in its place in:\n%s", part, b)
		}
		at = i
	}
	if strings.Contains(string(b), "push, old") {
		t.Errorf("the old section is still there:\n%s", b)
	}
}

func TestChartIsWellFormed(t *testing.T) {
	c := Chart{Title: "a < b", Bars: []Bar{{"x & y", 2, "2", true}, {"nothing", 0, "0", false}}}
	d := xml.NewDecoder(strings.NewReader(c.SVG()))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
