//go:build unix

// Package pgtest runs a PostgreSQL server for tests.
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
//
//	dsn := pgtest.Shared(t).Schema(t)
package pgtest

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // pgx, for package sql

	"github.com/rollcall-go/rollcall/internal/testkit"
)

// shared is the server of the tests that need none of their own, or why there is none.
var shared struct {
	*Server
	missing error
}

// Main is for a TestMain: it runs the tests, with a server that Shared returns.
func Main(m *testing.M) (code int) {
	shared.Server, shared.missing = New("-c", "fsync=off")
	if shared.missing == nil {
		defer shared.Remove()
	}
	return m.Run()
}

// Shared returns the server of Main; a machine without PostgreSQL leaves the test out.
func Shared(t testing.TB) *Server {
	t.Helper()
	if shared.missing != nil {
		testkit.LeaveOut(t, "%v", shared.missing)
	}
	return shared.Server
}

// Server is a PostgreSQL server in a folder of its own, with a Unix socket there and no other address.
type Server struct {
	folder   string
	bin      string
	settings []string
	as       *syscall.Credential // root starts it as another user
	watch    io.Closer           // when it is closed, or the process ends in whatever way, the server stops at once
	cmd      *exec.Cmd
	made     atomic.Int32 // schemas

	mu    sync.Mutex
	empty []string // addresses of schemas that have tables, and nothing in them
}

// New makes and starts a server, with further arguments. Remove ends it.
func New(settings ...string) (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, settings: settings}
	if os.Getuid() == 0 {
		if s.as, err = unprivileged(); err != nil {
			return nil, err
		}
	}
	if s.folder, err = os.MkdirTemp("", "rollcall-postgres"); err != nil {
		return nil, err
	}
	if s.as != nil {
		if err := os.Chown(s.folder, int(s.as.Uid), int(s.as.Gid)); err != nil {
			return nil, errors.Join(err, os.RemoveAll(s.folder))
		}
	}
	init := exec.Command(filepath.Join(bin, "initdb"), "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
	init.Dir, init.SysProcAttr = s.folder, &syscall.SysProcAttr{Credential: s.as}
	if out, err := init.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("initdb: %w: %s", err, out), os.RemoveAll(s.folder))
	}
	if err := s.Start(); err != nil {
		s.Remove()
		return nil, err
	}
	return s, nil
}

func (s *Server) data() string { return filepath.Join(s.folder, "data") }

// binaries returns the folder of PostgreSQL's programs: initdb's, or the newest where Debian puts them.
func binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		path, err = filepath.EvalSymlinks(path)
		return filepath.Dir(path), err
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(found) == 0 {
		return "", errors.New("PostgreSQL is not installed (apt-get install postgresql)")
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		return n
	}
	return slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) }), nil
}

// unprivileged is the user postgres: the server refuses to run as root.
func unprivileged() (*syscall.Credential, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

// Start starts the server, and returns when it answers. A shell stops it (SIGQUIT, as "pg_ctl -m immediate stop" does) when the shell's input ends.
func (s *Server) Start() error {
	args := []string{"-c", `"$@" & server=$!; cat >/dev/null; kill -QUIT $server; wait $server`, "sh", filepath.Join(s.bin, "postgres"),
		"-D", s.data(), "-k", s.folder, "-c", "listen_addresses=", "-c", "max_connections=200", "-c", "shared_buffers=16MB", "-c", "autovacuum=off"}
	s.cmd = exec.Command("sh", append(args, s.settings...)...)
	s.cmd.Dir, s.cmd.SysProcAttr = s.folder, &syscall.SysProcAttr{Credential: s.as}
	log, err := os.OpenFile(filepath.Join(s.folder, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	watch, err := s.cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.watch = watch
	db, err := sql.Open("pgx", s.dsn("public"))
	if err != nil {
		return err
	}
	defer db.Close()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) { // each question is a process of the server's
		if err = db.Ping(); err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("the server does not answer: %w: %s", err, text)
		}
	}
}

// Kill stops the server at once; what it has not committed is lost.
func (s *Server) Kill() {
	_ = s.watch.Close()
	_ = s.cmd.Wait() // it does not end with success
}

// Remove ends the server, and removes its folder.
func (s *Server) Remove() {
	if s.watch != nil {
		s.Kill()
	}
	_ = os.RemoveAll(s.folder)
}

// dsn is the address of a store in a schema.
func (s *Server) dsn(schema string) string {
	return "host=" + s.folder + " user=postgres dbname=postgres search_path=" + schema
}

// Schema makes a schema for a test, and returns the address of the store in it. It takes less time than a database.
func (s *Server) Schema(t testing.TB) (dsn string) {
	t.Helper()
	name := "test" + strconv.Itoa(int(s.made.Add(1)))
	s.Run(t, s.dsn("public"), "CREATE SCHEMA "+name)
	return s.dsn(name)
}

// Lend returns the address of a schema that may have empty tables already, since making them takes most of the time of a short test.
func (s *Server) Lend(t testing.TB) (dsn string) {
	t.Helper()
	s.mu.Lock()
	if n := len(s.empty); n > 0 {
		dsn, s.empty = s.empty[n-1], s.empty[:n-1]
	}
	s.mu.Unlock()
	if dsn == "" {
		dsn = s.Schema(t)
	}
	t.Cleanup(func() { // when the test has closed the store
		s.Run(t, dsn, `DO $$ DECLARE name text; BEGIN
			FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename <> 'chat_version' LOOP
				EXECUTE 'DELETE FROM ' || name;
			END LOOP; END $$`)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.empty = append(s.empty, dsn)
	})
	return dsn
}

// Run runs a statement, and returns the texts that it finds.
func (s *Server) Run(t testing.TB, dsn, statement string) (found []string) {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(statement)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		found = append(found, text)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}
