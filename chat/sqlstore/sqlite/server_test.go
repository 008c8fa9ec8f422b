package sqlite_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rollcall-go/rollcall/chat/sqlstore/internal/servertest"
	"github.com/rollcall-go/rollcall/internal/testkit"
)

func TestServer(t *testing.T) {
	servertest.Run(t, func(t *testing.T) servertest.Store { return open(t, filepath.Join(t.TempDir(), "chat.db")) })
}

func TestAFileThatIsSetBackIsReadFromTheStart(t *testing.T) {
	dir := t.TempDir()
	path, copied := filepath.Join(dir, "chat.db"), filepath.Join(dir, "copy.db")
	copyFile := func(from, to string) {
		if err := os.WriteFile(to, testkit.Must(os.ReadFile(from)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	servertest.SetBack(t, func(t *testing.T) servertest.Store { return open(t, path) },
		func() { copyFile(path, copied) }, func() { copyFile(copied, path) })
}
