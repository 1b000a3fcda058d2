package command_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
)

// doc writes a doc string below a step.
func doc(step string, lines ...string) string {
	return step + "\n\"\"\"\n" + strings.Join(lines, "\n") + "\n\"\"\""
}

// TestCommands runs each sentence about commands twice: once it passes, once it fails.
func TestCommands(t *testing.T) {
	const notRun = "no command has been run: write \"I run `uptime`\" before this step"
	const hello = "When I run `sh -c \"echo hello; echo trouble >&2; exit 3\"`\n"
	for _, c := range []struct{ text, want string }{
		{"When I run `echo a`\nAnd I run 'echo b'\nAnd I run \"echo c\"\nThen the output should contain exactly \"a\\nb\\nc\\n\"", ""},
		{"When I run `echo a | wc -c`\nThen the output should match /^ *2$/", ""},
		{"When I run `echo a`\nThen the output should contain exactly \"a\"", `expect the output of "echo a" to be "a", got "a\n", with a line break at its end: end the doc string with an empty line`},
		{doc("When I run `echo a`\nThen the stdout should contain exactly:", "a", ""), ""},
		{doc("When I run `echo a`\nThen the stdout should contain exactly:", "b", ""), `expect the stdout of "echo a" to be "b\n", got "a\n"`},
		{"Then the output should contain \"a\"", notRun},
		{"Then the exit status should be 0", notRun},
		{"When I run `no-such-program-here`", `run no-such-program-here: there is no such program in $PATH`},
		{"When I run ` `", `the command is empty`},

		{hello + `Then the output should contain "hello"`, ""},
		{hello + `Then the output should contain "hell's"`, `expect the output of "sh -c "echo hello; echo trouble >&2; exit 3"" to contain "hell's", got "hello\ntrouble\n"`},
		{hello + `Then the stdout should contain "trouble"`, `expect the stdout of "sh -c "echo hello; echo trouble >&2; exit 3"" to contain "trouble", got "hello\n"`},
		{hello + `Then the stderr should contain "trouble"`, ""},
		{hello + `Then the stderr should not contain "trouble"`, `expect the stderr of "sh -c "echo hello; echo trouble >&2; exit 3"" not to contain "trouble", got "trouble\n"`},
		{hello + `Then the output should not contain "x"`, ""},
		{hello + `Then the output should contain ""`, `the text is empty, and every output contains it: give a text`},
		{doc(hello+`Then the output should contain:`, "hello", "trouble"), ""},
		{hello + `Then the output should contain:`, `the step needs a doc string below it, with the expected text`},
		{doc(hello+`Then the stderr should not contain:`, "trouble"), `expect the stderr of "sh -c "echo hello; echo trouble >&2; exit 3"" not to contain "trouble", got "trouble\n"`},
		{hello + `Then the output should match /^h.*e$/`, ""},
		{hello + `Then the output should match /x/`, `expect the output of "sh -c "echo hello; echo trouble >&2; exit 3"" to match "x", got "hello\ntrouble\n"`},
		{hello + `Then the output should match /(/`, "\"(\" is not a valid regular expression (RE2 syntax): error parsing regexp: missing closing ): `(?sm)(`"},
		{doc(hello+`Then the stdout should match:`, "^x"), `expect the stdout of "sh -c "echo hello; echo trouble >&2; exit 3"" to match "^x", got "hello\n"`},

		{"When I run `echo a`\nAnd I run `echo b`\nThen the output from \"echo a\" should contain \"a\"", ""},
		{"When I run `echo a`\nAnd I run `echo b`\nThen the output from \"echo a\" should contain \"b\"", `expect the output of "echo a" to contain "b", got "a\n"`},
		{"When I run `echo a`\nThen the stdout from \"echo b\" should not contain \"b\"", `the scenario has not run "echo b": write the command exactly as in the step that ran it`},
		{"When I run `echo a`\nThen the stdout from \"echo a\" should not contain \"a\"", `expect the stdout of "echo a" not to contain "a", got "a\n"`},
		{doc("When I run `echo a`\nThen the output from \"echo a\" contains:", "b"), `expect the output of "echo a" to contain "b", got "a\n"`},
		{doc("When I run `echo a`\nThen the output from \"echo a\" does not contain:", "a"), `expect the output of "echo a" not to contain "a", got "a\n"`},
		{doc("When I run `echo a`\nThen the output from \"echo a\" contains exactly:", "a", ""), ``},
		{doc("When I run `echo a`\nThen the output from \"echo a\" does not contain exactly:", "a", ""), `expect the output of "echo a" not to be "a\n", got "a\n"`},

		{"When I run `true`\nThen the exit status should be 0\nAnd it should exit '0'\nAnd the exit status should not be 1", ""},
		{hello + "Then the exit status should be 0", `expect "sh -c "echo hello; echo trouble >&2; exit 3"" to end with exit status 0, got exit status 3, with the output "trouble"`},
		{hello + "Then it should exit '2'", `expect "sh -c "echo hello; echo trouble >&2; exit 3"" to end with exit status 2, got exit status 3, with the output "trouble"`},
		{hello + "Then it should exit 'x'", `"x" is not a whole number that fits`},
		{hello + "Then the exit status should not be 3", `expect "sh -c "echo hello; echo trouble >&2; exit 3"" to end with an exit status other than 3, got exit status 3, with the output "trouble"`},
		{"When I run 'kill -9 $$'\nThen it should exit from being signaled\nAnd the exit status should not be 0", ""},
		{"When I run 'kill -9 $$'\nThen the exit status should be 0", `expect "kill -9 $$" to end with exit status 0, got a signal (killed)`},
		{"When I run `true`\nThen it should exit from being signaled", `expect "true" to be ended by a signal, got exit status 0`},
		{"When I successfully run `true`", ""},
		{"When I successfully run \"false\"", `expect "false" to succeed, got exit status 1`},
		{doc(hello+"Then it should fail with:", "trouble"), ""},
		{doc(hello+"Then it should pass with:", "trouble"), `expect "sh -c "echo hello; echo trouble >&2; exit 3"" to succeed, got exit status 3, with the output "trouble"`},
		{doc("When I run `echo a`\nThen it should fail with exactly:", "a", ""), `expect "echo a" to fail, got exit status 0, with the output "a"`},
		{doc("When I run `echo a`\nThen it should pass with regexp:", "^a$"), ""},
		{doc("When I run `echo a`\nThen it should pass with regex:", "^b$"), `expect the output of "echo a" to match "^b$", got "a\n"`},

		{hello + "Then 'stdout' should have 'hel+o'", ""},
		{hello + "Then 'stderr' should have 'hel+o'", `expect the stderr of "sh -c "echo hello; echo trouble >&2; exit 3"" to match "hel+o", got "trouble\n"`},
		{hello + "Then 'stderr' should not have 'hel+o'", ""},
		{hello + "Then 'stdout' should not have 'hel+o'", `expect the stdout of "sh -c "echo hello; echo trouble >&2; exit 3"" not to match "hel+o", got "hello\n"`},
		{hello + "Then 'output' should have 'hel+o'", `"output" is neither 'stdout' nor 'stderr'`},
		{"When I run 'echo a; echo b; echo a'\nThen 'a' should appear on 'stdout' '2' times", ""},
		{"When I run 'echo a; echo b; echo a'\nThen 'a' should appear on 'stdout' '3' times", `expect 3 lines of the stdout of "echo a; echo b; echo a" to match "a", got 2`},
		{"When I run \"uptime\"\nThen I should see \"load +average\" in the output", ""},
		{"When I run `echo a`\nThen I should see \"b\" in the output", `expect the output of "echo a" to match "b", got "a\n"`},

		{"When I run `cat` interactively\nAnd I type \"one\"\nAnd I type \"two\"\nThen the output should contain exactly \"one\\ntwo\\n\"\nAnd the exit status should be 0", ""},
		{"When I run \"cat\" interactively\nAnd I type \"one\"\nThen the stdout should contain \"two\"", `expect the stdout of "cat" to contain "two", got "one\n"`},
		{"When I type \"one\"", "no running command reads input: write \"I run `bc` interactively\" before this step"},
		{"When I run `no-such-program-here` interactively\nThen the output should not contain \"x\"", `run no-such-program-here: there is no such program in $PATH`},

		{"Given a directory named \"a/b\"\nAnd I cd to \"a\"\nWhen I run `ls`\nThen the output should contain exactly \"b\\n\"", ""},
		{"Given I cd to \"a\"", "cd to \"a\": the scenario has no such directory: for one of this machine, write `the working directory is \"/…\"`"},
		{"Given I cd to \"..\"", "cd to \"..\": this leads out of the scenario's own directory: write `the working directory is \"/…\"`"},
		{"Given the working directory is \"/\"\nWhen I run `pwd`\nThen the output should contain exactly \"/\\n\"", ""},
		{"Given the working directory is \"/no/such\"", `work in "/no/such": stat /no/such: no such file or directory`},
		{"Given the working directory is \"a\"\nAnd an empty file named \"b\"\nThen the file \"b\" exists", ""},
		{"Given the working directory is \"../a\"", `work in "../a": this leads out of the scenario's own directory`},
		{"Given Assumption: x\nAnd Explanation: y\nAnd Instruction: z\nAnd I'm using a clean gemset \"x\"\nAnd wait \"0.01\" seconds", ""},
		{"Given wait \"soon\" seconds", `"soon" is not a number of seconds to wait`},
	} {
		outcome, err := stepstest.Run(t.Context(), nil, c.text, &steps.Target{})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := outcome.Err(); err != nil {
			got = err.Error()
		}
		if got != c.want || outcome.Close != nil {
			t.Errorf("%s\ngot  %s\nwant %s\nleft %v", c.text, got, c.want, outcome.Close)
		}
	}
}

// TestCommandsLeaveNothing checks that a scenario's files and processes are gone after it.
func TestCommandsLeaveNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("MEMBERS_PASSWORD", "open sesame")
	for text, want := range map[string]string{
		"When I run 'sleep 60 & echo $! > pid; env'\nThen the output should not contain \"sesame\"": "",
		"When I run `sleep 60` interactively":                                                       "",
		"When I run `sh -c \"trap : TERM; sleep 61\"`":                                              `^"sh -c "trap : TERM; sleep 61"" did not end in time and was ended after \S+, with all processes that it had started; it had printed nothing$`,
		"When I run 'yes | head -c 3000000'\nThen the output should not contain \"x\"":              `^expect the output of "yes \| head -c 3000000" to contain "x": unknown, because only the first 1024 KiB were kept$`,
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		outcome, err := stepstest.Run(ctx, nil, text, &steps.Target{})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := outcome.Err(); err != nil {
			got = err.Error()
		}
		if !regexp.MustCompile(want).MatchString(got) || want == "" && got != "" || outcome.Close != nil {
			t.Errorf("%s\ngot  %s, left %v", text, got, outcome.Close)
		}
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestFilesOfCucumberNagios(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "backup.log")
	for path, content := range map[string]string{log: "begun\nfinished\nfinished\n"} {
		if err := os.WriteFile(path, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	const none = `expect the file "NONE": it does not exist`
	for _, c := range []struct{ text, want string }{
		{doc(`Given a file named "a/b" with:`, "hello", "you") + "\nThen the file \"a/b\" contains \"lo\\nyou\"\nAnd a directory named \"a\" should exist", ""},
		{doc(doc(`Given a file named "a/b" with:`, "hello")+"\nWhen I append to \"a/b\":", "!") + doc("\nThen the file \"a/b\" contains exactly:", "hello!"), ""},
		{doc(`Given a file named "a/b" with:`, "hello") + doc("\nThen the file \"a/b\" should contain exactly:", "hello!"), `expect the file "OWN/a/b" to be "hello!", got "hello"`},
		{doc(`Given a file named "a/b" with:`, "hello") + doc("\nThen the file \"a/b\" does not contain exactly:", "hello"), `expect the file "OWN/a/b" not to be "hello", got "hello"`},
		{doc(doc(`Given the file "a" contains:`, "long long")+"\nWhen I overwrite \"a\" with:", "b") + "\nThen the file \"a\" contains /^b$/", ""},
		{doc(`When I overwrite "a":`, "b"), `overwrite "a": openat a: no such file or directory`},
		{doc(`When I write to "/etc/motd":`, "b"), `"/etc/motd" is not in the scenario's own directory, and a scenario writes nowhere else: use a path without a leading slash`},
		{doc(`When I write to "../b":`, "b"), `"../b" is not in the scenario's own directory, and a scenario writes nowhere else: use a path without a leading slash`},
		{doc("When I run 'ln -s / out'\nAnd I write to \"out/tmp/stepwatch-escaped\":", "b"), `write "out/tmp/stepwatch-escaped": mkdirat out/tmp: path escapes from parent`},
		{`When I write to "a":`, `write "a": the step needs a doc string below it, with the text to write`},
		{"Given an empty file named \"a\"\nAnd we have an empty file named 'b'\nWhen I remove the file \"a\"\nThen the file \"a\" does not exist\nAnd a file named 'b' should exist", ""},
		{`When I remove the file "a"`, `remove "a": removeat a: no such file or directory`},
		{"Given the directory \"a/b\"\nThen the directory \"a/b\" exists\nAnd the file \"a/b\" does not exist", ""},

		{"Then the file \"LOG\" exists\nAnd the file \"NONE\" does not exist\nAnd a file named \"NONE\" should not exist\nAnd a file named 'NONE' should not exist", ""},
		{`Then a file named "NONE" should exist`, none},
		{`Then the file "LOG" should not exist`, `expect no file "LOG": it exists`},
		{`Then a directory named 'DIR' should not exist`, `expect no directory "DIR": it exists`},
		{`Then the directory "LOG" exists`, `expect "LOG" to be a directory: it is not`},
		{"Then these files exist:\n| LOG |\n| NONE |", none},
		{"Then the following files should not exist:\n| NONE |\n| LOG |", `expect no file "LOG": it exists`},
		{"Then these directories exist:\n| DIR |\nAnd the following directories should not exist:\n| NONE |", ""},
		{"Then these directories do not exist:", `the step needs a table below it, with one directory in each row`},
		{"Then the file \"LOG\" contains \"finished\"\nAnd the file \"LOG\" should not contain \"ERROR\"\nAnd the file \"LOG\" does not contain /ERR|FATAL/\nAnd a file named 'LOG' should contain 'begun.finished'", ""},
		{`Then the file "LOG" should contain "ERROR"`, `expect the file "LOG" to contain "ERROR", got "begun\nfinished\nfinished\n"`},
		{`Then the file "NONE" does not contain "ERROR"`, none},
		{"When I run `mkfifo pipe`\nThen the file \"pipe\" should not contain \"x\"", `expect "OWN/pipe" to be a regular file: it is not (p---------)`},
		{"When I run `mkfifo pipe`\nThen 'pipe' should exist and raise error when copying", `expect "OWN/pipe" to be a regular file: it is not (p---------)`},
		{doc("When I run `mkfifo pipe`\nAnd I append to \"pipe\":", "b"), `append to "pipe": it is not a regular file (p---------)`},
		{`Then the file "LOG" should match /^end/`, `expect the file "LOG" to match "^end", got "begun\nfinished\nfinished\n"`},
		{`Then the file "LOG" should not match /^beg/`, `expect the file "LOG" not to match "^beg", got "begun\nfinished\nfinished\n"`},
		{"Then the file \"LOG\" contains \"finished\" exactly \"2\" times\nAnd a file named 'LOG' should contain '^fin' only '2' times", ""},
		{`Then the file "LOG" contains "finished" exactly "1" times`, `expect the file "LOG" to contain "finished" 1 times, got 2`},
		{`Then the file "LOG" does not contain "finished" exactly "2" times`, `expect the file "LOG" not to contain "finished" 2 times, but it does`},
		{`Then a file named 'LOG' should contain '^fin' only '1' time`, `expect the file "LOG" to contain "^fin" 1 times, got 2`},
		{"Then the file \"LOG\" has octal mode \"640\"\nAnd the file named 'LOG' should have mode '0640'\nAnd the file \"LOG\" has decimal mode \"416\"\nAnd the directory named 'DIR' should have mode '1755'", ""},
		{`Then the file "LOG" has octal mode "644"`, `expect the file "LOG" to have the mode 0644, got 0640`},
		{`Then the directory "DIR" has decimal mode "493"`, `expect the directory "DIR" to have the mode 493 (octal 0755), got 1005 (octal 1755)`},
		{`Then the file "LOG" has octal mode "888"`, `"888" is not a mode of a file: use 0 to 7777 in octal`},
		{"Then the file \"/etc/passwd\" is owned by \"root\"\nAnd the directory named '/etc' should be owned by 'root'", ""},
		{`Then the file "/etc/passwd" is owned by "daemon"`, `expect the file "/etc/passwd" to be owned by daemon, got root`},
		{`Then the file "/etc/passwd" is owned by "no-such-user"`, `expect "/etc/passwd" to be owned by "no-such-user": user: unknown user no-such-user`},
		{`Then 'NONE' should exist and raise error when copying`, none},
		{doc("Given an empty file named \"a\"\nAnd we record the a-mtime of \"a\"\nWhen wait \"0.02\" seconds\nAnd I append to \"a\" with:", "b") + "\nThen the mtime of \"a\" changes\nAnd the mtime of 'a' should be different", ""},
		{"Given we have the atime/mtime of 'LOG'\nThen the atime of \"LOG\" changes", `expect the atime of "LOG" to change, but it is still TIME`},
		{"Given we have the atime/mtime of 'LOG'\nThen the mtime of 'LOG' should be different", `expect the mtime of "LOG" to change, but it is still TIME`},
		{`Then the mtime of "LOG" changes`, "the times of \"LOG\" were not recorded: write `we record the a-mtime of \"LOG\"` before this step"},
		{"Given we record the a-mtime of \"LOG\"\nThen the ctime of \"LOG\" changes", `a file has an mtime and an atime, but no ctime`},
	} {
		names := strings.NewReplacer("LOG", log, "NONE", filepath.Join(dir, "none"), "DIR", dir)
		outcome, err := stepstest.Run(t.Context(), nil, names.Replace(c.text), &steps.Target{})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := outcome.Err(); err != nil {
			got = err.Error()
		}
		got = regexp.MustCompile(os.TempDir()+`/stepwatch-scenario-\d+`).ReplaceAllString(got, "OWN")
		got = regexp.MustCompile(`\d{4}-\d\d-\d\dT\S+`).ReplaceAllString(got, "TIME")
		if got != names.Replace(c.want) || outcome.Close != nil {
			t.Errorf("%s\ngot  %s\nwant %s\nleft %v", c.text, got, c.want, outcome.Close)
		}
	}
}
