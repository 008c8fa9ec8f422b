package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// An edit whose text is no longer in the code is no mutant any more, and `make mutants` is not run at every change.
func TestEditsFitTheCode(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	all, err := readAll(filepath.Join("internal", "mutants", "edits"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := copyModule(dir, func(string) bool { return true }); err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		pkg, test, named := strings.Cut(m.test, " ")
		test, _, _ = strings.Cut(test, "$/") // the rest is a part of the test
		if named && !hasTest(t, filepath.Join(dir, pkg), test) {
			t.Errorf("%s: there is no %s in %s", m.name, test, pkg)
		}
		undo, err := m.apply(dir)
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
		undo()
	}
}

// docs/contract.md says which rules are broken: those, and no others, have edits, and each is named after its rule.
func TestRulesThatAreSaidToBeBrokenHaveEdits(t *testing.T) {
	all, err := readAll("edits")
	if err != nil {
		t.Fatal(err)
	}
	contract, err := os.ReadFile(filepath.Join("..", "..", "docs", "contract.md"))
	if err != nil {
		t.Fatal(err)
	}
	var broken []int
	for _, m := range all {
		for _, rule := range m.rules() {
			if !bytes.Contains(contract, []byte("\n"+rule+". **")) && !bytes.Contains(contract, []byte("\n "+rule+". **")) {
				t.Errorf("%s: the contract has no rule %s", m.name, rule)
			}
		}
		broken = append(broken, number(t, m.rule))
	}
	slices.Sort(broken)
	broken = slices.Compact(broken)
	sentence := regexp.MustCompile("`make mutants` breaks rules ([^;.]*?)\\s+one by one").FindSubmatch(contract)
	if sentence == nil {
		t.Fatal("docs/contract.md does not say which rules are broken")
	}
	if said := numbers(t, string(sentence[1])); !slices.Equal(broken, said) {
		t.Errorf("there are edits for rules %v; docs/contract.md says %v", broken, said)
	}
}

// numbers reads "1, 3 to 5 and 7".
func numbers(t *testing.T, list string) (all []int) {
	t.Helper()
	for part := range strings.SplitSeq(strings.ReplaceAll(strings.Join(strings.Fields(list), " "), " and ", ", "), ", ") {
		first, last, several := strings.Cut(part, " to ")
		if !several {
			last = first
		}
		for n := number(t, first); n <= number(t, last); n++ {
			all = append(all, n)
		}
	}
	return all
}

// number returns a rule's number; those of optional packages, P19 and so on, come after the others.
func number(t *testing.T, rule string) int {
	t.Helper()
	digits, optional := strings.CutPrefix(rule, "P")
	n, err := strconv.Atoi(digits)
	if err != nil {
		t.Fatalf("rule %q: %v", rule, err)
	}
	if optional {
		n += 1000
	}
	return n
}

// A name is what the command line takes.
func TestNoTwoEditsHaveOneName(t *testing.T) {
	all, err := readAll("edits")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, m := range all {
		if seen[m.name] {
			t.Errorf("two edits are called %s", m.name)
		}
		seen[m.name] = true
	}
}

// What a failing test says decides: a mutant that another rule's check notices, or that a test merely waited for, is not killed.
func TestAMutantDiesByItsOwnRule(t *testing.T) {
	for _, c := range []struct {
		name, output string
		mutant       mutant
		want         bool
	}{
		{"its rule", "failed after 3 tests: rule 3, ann: it came twice", mutant{rule: "3"}, true},
		{"its rule, and no user in particular", "rule 10: it has not returned", mutant{rule: "10"}, true},
		{"its rule, after another's", "rule 4, ann: no\nrule 3, ann: no", mutant{rule: "3"}, true},
		{"another rule", "rule 4, ann: no", mutant{rule: "3"}, false},
		{"a rule whose number begins with its own", "rule 10: no", mutant{rule: "1"}, false},
		{"a neighbouring rule", "rule 4, ann: no", mutant{rule: "3", diesBy: []string{"12", "4"}}, true},
		{"no rule", "panic: deadlock", mutant{rule: "3"}, false},
		{"a test of its own", "x_test.go:3: no", mutant{rule: "3", test: "./x TestX"}, true},
		{"a test that did not end", "panic: test timed out after 30s", mutant{rule: "3", test: "./x TestX"}, false},
	} {
		if got := c.mutant.diedByItsRule(c.output); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// hasTest reports whether a package has a test.
func hasTest(t *testing.T, dir, test string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("\nfunc "+test+"(t *testing.T)")) {
			return true
		}
	}
	return false
}
