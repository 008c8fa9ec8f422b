package sqlite_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/sqlstore/internal/load"
	"github.com/rollcall-go/rollcall/chat/sqlstore/sqlite"
)

// writerOf is the environment variable that makes the test's program a process that writes to the file it names, until it is killed.
const writerOf = "ROLLCALL_SQLITE_WRITER"

func TestMain(m *testing.M) {
	if path := os.Getenv(writerOf); path != "" {
		fmt.Fprintln(os.Stderr, write(path))
		os.Exit(1)
	}
	os.Exit(load.Main(m.Run))
}

// write prints a line for each batch that was answered.
func write(path string) error {
	s, err := sqlite.Open(path)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := load.Prepare(ctx, s); err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			load.Write(ctx, s, func(a []load.Answer) {
				mu.Lock()
				defer mu.Unlock()
				_ = out.Encode(a)
			}, func(err error) {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			})
		})
	}
	all.Wait()
	return nil
}

// A process that is killed while it writes loses nothing that was answered, and another one goes on (rules P29 and P33).
func TestAProcessThatIsKilledLosesNothing(t *testing.T) {
	kills := 5
	if text := os.Getenv("SOAK_KILLS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		kills = n
	}
	path := filepath.Join(t.TempDir(), "chat.db")
	var answers []load.Answer
	for round := range kills {
		cmd := exec.Command(os.Args[0])
		cmd.Env, cmd.Stderr = append(os.Environ(), writerOf+"="+path), os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for n := 0; lines.Scan(); n++ { // also what was printed before the kill, and waits in the pipe
			if n == 5+7*round%40 {
				_ = cmd.Process.Kill()
			}
			var a []load.Answer
			if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
				break // the kill cut the line off
			}
			answers = append(answers, a...)
		}
		_ = cmd.Process.Kill()
		if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() == 1 {
			t.Fatalf("the process ended by itself: %v", err)
		}
		s, err := sqlite.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		load.Check(t, s, answers)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(answers) == 0 {
		t.Error("no process has written anything")
	}
}

// Where the disk is full a batch is not stored, and not taken for a bad one; when there is room again the next ones are.
func TestAFullDisk(t *testing.T) {
	s, err := sqlite.OpenWith(filepath.Join(t.TempDir(), "chat.db"), "_pragma=max_page_count(150)")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := context.Background()
	if err := load.Prepare(ctx, s); err != nil {
		t.Fatal(err)
	}
	write := func(from string, n int) (posts []*chat.Post, err error) {
		for range n {
			posts = append(posts, &chat.Post{Group: 1, From: from, ID: uuid.New(), Content: make([]byte, 1000), Time: time.UnixMilli(1)})
		}
		return posts, s.Append(ctx, posts, func(*chat.Post, *chat.Standing) error { return nil })
	}
	var answers []load.Answer
	for {
		var posts []*chat.Post
		if posts, err = write("ann", 20); err != nil {
			break
		}
		for _, p := range posts {
			answers = append(answers, load.Answer{Key: p.Key(), Seq: p.Seq, ID: p.ID, From: p.From})
		}
	}
	if errors.Is(err, chat.ErrBadPost) {
		t.Errorf("the error of a full disk is %v", err)
	}
	load.Check(t, s, answers)
	if _, err := s.Prune(ctx, time.UnixMilli(2), 100); err != nil {
		t.Fatal(err)
	}
	posts, err := write("bob", 20)
	if err != nil {
		t.Fatal(err)
	}
	if want := uint64(len(answers) + 1); posts[0].Seq != want {
		t.Errorf("rule P29: the next number is %d, want %d", posts[0].Seq, want)
	}
}

// Processes that open a new file at once make its tables once.
func TestAFileMayBeOpenedAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chat.db")
	errs := make(chan error)
	for i := range 5 {
		go func() {
			s, err := sqlite.Open(path)
			if err == nil {
				err = errors.Join(s.CreateGroup(context.Background(), chat.Group{ID: chat.GroupID(i + 1), Owner: "ann"}, func(int) error { return nil }), s.Close())
			}
			errs <- err
		}()
	}
	for range 5 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	groups, err := open(t, path).Groups(context.Background(), "ann")
	if err != nil || len(groups) != 5 {
		t.Errorf("the groups are %v, %v", groups, err)
	}
}
