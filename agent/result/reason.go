package result

// Reason says why a step or a run did not pass: a short closed list, fit for a label. The free text is in Error.
type Reason string

// The reasons. Each names what was met, not who caused it: that is Blame.
const (
	ReasonDNS           Reason = "dns"                   // the name does not resolve, or the resolver does not answer
	ReasonConnect       Reason = "connect"               // no connection: port closed, host or network unreachable
	ReasonTLS           Reason = "tls"                   // the handshake failed, or TLS is not offered where it must be
	ReasonCertExpired   Reason = "certificate_expired"   // outside the certificate's validity
	ReasonCertHost      Reason = "certificate_host"      // the certificate is for another name
	ReasonCertAuthority Reason = "certificate_authority" // no trusted root signed it
	ReasonCertChain     Reason = "certificate_chain"     // the server leaves out an intermediate
	ReasonCertWeak      Reason = "certificate_weak"      // a key or a signature that is too weak
	ReasonCertSoon      Reason = "certificate_soon"      // it ends sooner than the step allows
	ReasonCertRevoked   Reason = "certificate_revoked"   // its authority took it back
	ReasonAuth          Reason = "auth"                  // the credentials were refused, or cannot be used
	ReasonRefused       Reason = "refused"               // a permanent refusal by the server (SMTP 5xx, IMAP NO)
	ReasonDeferred      Reason = "deferred"              // a temporary refusal by the server (SMTP 4xx, greylisting)
	ReasonDisconnected  Reason = "disconnected"          // the server ended the connection in mid-dialogue (BYE, reset)
	ReasonProtocol      Reason = "protocol"              // the server's answer breaks its protocol
	ReasonTimeout       Reason = "timeout"               // no answer before the deadline
	ReasonNotReceived   Reason = "not_received"          // the mail did not arrive in time
	ReasonHTTPStatus    Reason = "http_status"           // a status that the step does not accept
	ReasonRedirect      Reason = "redirect"              // a redirect loop, or a redirect that leads nowhere
	ReasonTooLarge      Reason = "too_large"             // more than the cap on what is read
	ReasonNotFound      Reason = "not_found"             // the page lacks the link, field, button or form that was asked for
	ReasonUnexpected    Reason = "unexpected"            // what was read is not what the step wants
	ReasonSlow          Reason = "slow"                  // right, but later than the step allows
	ReasonWarning       Reason = "warning"               // a plugin says WARNING
	ReasonConfig        Reason = "config"                // account, secret or setting missing or wrong in the configuration
	ReasonScenario      Reason = "scenario"              // the scenario itself is wrong: undefined, ambiguous, out of order
	ReasonPanic         Reason = "panic"                 // the step's code panicked
	ReasonAbandoned     Reason = "abandoned"             // the step ignored its deadline and was left behind
	ReasonBrowser       Reason = "browser"               // the browser broke, or cannot be started; nothing is known of the website
	ReasonCanceled      Reason = "canceled"              // stepwatch was told to stop
	ReasonInternal      Reason = "internal"              // stepwatch itself went wrong
)

// Blame names whose fault a failure is: the leg of the way that broke, and by that its owner.
type Blame string

// The legs. Mail has the six of a message's way; the web has its own; the last two are not the target's fault.
const (
	BlameDNS        Blame = "dns"        // name resolution
	BlameNetwork    Blame = "network"    // reaching the host
	BlameSubmission Blame = "submission" // the server that takes the mail
	BlameQueue      Blame = "queue"      // waiting inside a mail server
	BlameTransfer   Blame = "transfer"   // from server to server
	BlameFiltering  Blame = "filtering"  // spam, virus and policy filters
	BlameDelivery   Blame = "delivery"   // into the mailbox
	BlameAccess     Blame = "access"     // reading the mailbox: IMAP, POP3
	BlameWeb        Blame = "web"        // the web server or the application behind it
	BlameTarget     Blame = "target"     // the system under observation, its leg not known
	BlameScenario   Blame = "scenario"   // the feature file or the configuration
	BlameMonitor    Blame = "monitor"    // stepwatch or the machine that it runs on
)
