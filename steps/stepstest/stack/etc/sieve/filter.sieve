# What a mail system does with every message: mailing lists go into a folder, spam goes into Junk. For the
# account "sealed" each message is encrypted before it is stored.
require ["fileinto", "mailbox", "envelope", "subaddress", "vnd.dovecot.filter"];

if envelope :user "to" "sealed" {
  filter "seal";
}

if header :contains "Subject" "[filtered]" {
  fileinto :create "Filtered";
} elsif header :is "X-Spam-Flag" "YES" {
  fileinto :create "Junk";
}
