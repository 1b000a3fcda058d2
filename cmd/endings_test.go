package cmd

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cucumber/godog"
)

// endings are steps of a team's own that end the program in ways that no code can recover from.
func endings(sc *godog.ScenarioContext) {
	sc.Step(`^the program ends by "([^"]*)"$`, func(how string) {
		if path, is := strings.CutPrefix(how, "writing "); is { // it ends nothing, and does not end
			_ = os.WriteFile(path, nil, 0o600)
			how = "0"
		}
		switch how {
		case "a panic":
			go func() { panic("with open sesame in it") }()
		case "a runtime panic":
			go func() { var all []int; _ = all[len(how)] }()
		case "concurrent map writes":
			m := make(map[int]int)
			for range 8 {
				go func() {
					for i := 0; ; i++ {
						m[i%10] = i
					}
				}()
			}
		case "an endless recursion":
			debug.SetMaxStack(1 << 20)
			var down func(int) int
			down = func(n int) int { return down(n+1) + 1 }
			down(0)
		case "exit code 0":
			os.Exit(0)
		case "exit code 2":
			os.Exit(2)
		default:
			number, _ := strconv.Atoi(how)
			_ = syscall.Kill(os.Getpid(), syscall.Signal(number))
		}
		time.Sleep(20 * time.Second)
	})
}
