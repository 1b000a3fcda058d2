# Start here: "make demo" shows what stepwatch does, "make test" runs all tests.
export CGO_ENABLED = 0

GOLANGCI_LINT = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
STATICCHECK   = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK   = golang.org/x/vuln/cmd/govulncheck@v1.1.4

.PHONY: demo build test install vet lint vulnerabilities bench fuzz tidy outdated docs

demo:
	go run ./cmd/stepwatch demo

build:
	go build -trimpath -ldflags='-s -w' -o stepwatch ./cmd/stepwatch

# Runs all tests, including those with the real servers. The race detector needs a C compiler; without one the tests run
# without the race detector.
test: install vet
	.ci/test

# Installs the Debian packages that the tests with the real servers need, if this machine permits it.
install:
	.ci/install

# The example is a separate module, like that of a user.
EXAMPLE = cd examples/gosteps &&

vet:
	go vet ./...
	$(EXAMPLE) go vet ./...
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on these files'; exit 1; }

lint: vet
	go run $(STATICCHECK) ./...
	go run $(GOLANGCI_LINT) run
	$(EXAMPLE) go run $(STATICCHECK) ./...
	$(EXAMPLE) go run $(GOLANGCI_LINT) run

vulnerabilities:
	go run $(GOVULNCHECK) ./...

# Compares stepwatch with bare net/http and with the mail servers of this repository. It prints figures, not a verdict.
bench:
	go test -run '^$$' -bench . -benchmem ./...

# How long "make fuzz" takes for each target, and for the altered dialogues: "make fuzz FUZZTIME=10m" takes a day.
FUZZTIME = 30s

# Alters what servers send, and what every reader reads, until something breaks a promise (docs/fuzzing.md).
fuzz:
	.ci/fuzz $(FUZZTIME)

# Run this after a change of go.mod: the example needs what stepwatch needs.
tidy:
	$(EXAMPLE) go mod tidy

# The direct dependencies that have a newer version, and those that the proxy says nothing about, one a line.
outdated:
	@found=$$(go list -m -u -e -f '{{if not (or .Main .Indirect)}}{{if .Error}}{{.Path}} {{.Version}}: the proxy does not tell its versions{{end}}{{with .Update}}{{$$.Path}} {{$$.Version}}: {{.Version}} is there{{end}}{{end}}' all 2>/dev/null | grep .); \
	echo "$${found:-every direct dependency is at its newest version}"

docs:
	go run ./cmd/stepwatch steps --format markdown > docs/steps.md
	go test ./cmd/stepwatch -run TestLimitsTable -update-limits
