# The two commands of this repository: "make demo" shows it, "make test" proves it.
export CGO_ENABLED = 0

GOLANGCI_LINT = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
STATICCHECK   = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK   = golang.org/x/vuln/cmd/govulncheck@v1.1.4

.PHONY: demo build test install vet lint vulnerabilities bench fuzz tidy outdated docs

demo:
	go run ./cmd/stepwatch demo

build:
	go build -trimpath -ldflags='-s -w' -o stepwatch ./cmd/stepwatch

# Everything, the real servers included. The race detector needs cgo and a C compiler; without them the tests run without it.
test: install vet
	.ci/test

# The Debian packages that the tests of the real servers need, when this machine lets us install them.
install:
	.ci/install

# A module of its own, as a user's is.
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

# Side by side with bare net/http and the mail servers of this repository; figures, no verdict.
bench:
	go test -run '^$$' -bench . -benchmem ./...

# After a change of go.mod: what the example needs is what stepwatch needs.
tidy:
	$(EXAMPLE) go mod tidy

# The direct dependencies that have a newer version, and those that the proxy says nothing about, one a line.
outdated:
	@found=$$(go list -m -u -e -f '{{if not (or .Main .Indirect)}}{{if .Error}}{{.Path}} {{.Version}}: the proxy does not tell its versions{{end}}{{with .Update}}{{$$.Path}} {{$$.Version}}: {{.Version}} is there{{end}}{{end}}' all 2>/dev/null | grep .); \
	echo "$${found:-every direct dependency is at its newest version}"

docs:
	go run ./cmd/stepwatch steps --format markdown > docs/steps.md
