package doccheck

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	requiresUs = regexp.MustCompile(`(?m)^\s*(?:require )?` + regexp.QuoteMeta(strings.TrimSuffix(module, "/")) + ` (v\S+)`)
	replacesUs = regexp.MustCompile(`(?m)^replace ` + regexp.QuoteMeta(strings.TrimSuffix(module, "/")) + ` => (\.\S+)$`)
	taggable   = regexp.MustCompile(`^v\d+\.\d+\.\d+$`)
)

// A module of its own can be fetched where it requires a version of the main module that is, or will be, a tag: a user's
// go command takes no notice of our "replace", by which it is built here. All require the same version, which is the next
// one to be tagged.
func TestModulesRequireTheMainOneByAVersionThatATagCanHave(t *testing.T) {
	versions := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() != "go.mod" || filepath.Dir(path) == filepath.Clean(root) {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		require, replace := requiresUs.FindSubmatch(text), replacesUs.FindSubmatch(text)
		switch {
		case require == nil && replace == nil: // it does without the main module
			return nil
		case require == nil || replace == nil:
			t.Errorf("%s: a module requires the main one, and replaces it by a folder", path)
			return nil
		}
		version, folder := string(require[1]), string(replace[1])
		if !taggable.MatchString(version) || version == "v0.0.0" {
			t.Errorf("%s requires the main module at %s, which no tag has", path, version)
		}
		if got := filepath.Join(filepath.Dir(path), folder); got != filepath.Clean(root) {
			t.Errorf("%s: the main module is replaced by %s", path, got)
		}
		versions[version] = path
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(versions) != 1 {
		t.Errorf("modules require several versions of the main one, or none does: %v", versions)
	}
}
