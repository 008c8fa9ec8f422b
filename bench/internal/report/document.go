package report

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// Section is what one benchmark has to tell.
type Section struct {
	Title   string
	Intro   string // how the figures came about
	Targets []Target
	Body    string // Markdown
}

// Target is something that must be reached.
type Target struct {
	What     string
	Must     string
	Measured string
	Met      bool
	Minimal  *Minimal // nil where there is none
}

// Minimal compares the minimal program, which has no code of ours, with a target, and with us.
type Minimal struct {
	Measured string
	Met      bool
	Ours     string // our result ÷ its
}

// String returns the section in Markdown.
func (s Section) String() string {
	var b strings.Builder
	b.WriteString("## " + s.Title + "\n\n" + strings.TrimSpace(s.Intro) + "\n\n")
	if len(s.Targets) > 0 {
		t := targetTable(s.Targets)
		b.WriteString(t.String() + "\n")
	}
	b.WriteString(strings.TrimSpace(s.Body) + "\n")
	return b.String()
}

// targetTable has columns for the minimal program only where there is one.
func targetTable(targets []Target) Table {
	t := Table{Head: []string{"target", "must be", "is", "met"}}
	if slices.ContainsFunc(targets, func(t Target) bool { return t.Minimal != nil }) {
		t.Head = append(t.Head, "minimal is", "met", "Rollcall ÷ minimal")
	}
	for _, target := range targets {
		row := []string{target.What, target.Must, target.Measured, yesNo(target.Met)}
		if m := target.Minimal; m != nil {
			row = append(row, m.Measured, yesNo(m.Met), m.Ours)
		}
		t.Row(row...)
	}
	return t
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

// WriteDocument writes the document: its head, then a section for each of order. Sections that were not measured now are
// kept from the document that is there.
func WriteDocument(path, head string, order []string, measured []Section) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	sections := split(string(old))
	for _, s := range measured {
		sections[s.Title] = s.String()
	}
	var b strings.Builder
	b.WriteString(strings.TrimSpace(head) + "\n")
	for _, title := range order {
		if s := sections[title]; s != "" {
			b.WriteString("\n" + strings.TrimSpace(s) + "\n")
		}
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

// split returns a document's sections by their titles.
func split(document string) map[string]string {
	sections := make(map[string]string)
	for i, s := range strings.Split("\n"+document, "\n## ") {
		if title, _, ok := strings.Cut(s, "\n"); ok && i > 0 {
			sections[title] = "## " + s
		}
	}
	return sections
}
