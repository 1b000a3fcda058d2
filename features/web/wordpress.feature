# Does each part of a WordPress site do its share? Here nginx gives out the static files, sends the login to HTTPS, and hands
# the rest to Apache, whose WordPress says so in a Link header. A mistake in the split is seen by nobody for long: pages that
# come without their style, a login in clear text, or PHP that is given out as a file.
#
# Replace www.example.org and the text of the front page. For the last scenario make a user that may do nothing (a
# subscriber), and give stepwatch.yml its password under secrets, as "editor".
@every:5m @warn:3s
Feature: WordPress

  Scenario: Pages come from WordPress
    When I go to "http://www.example.org/"
    Then the "Link" header should contain "wp-json"
    And I should see the heading "News of the Society"

  # What nginx gives out itself has no word of WordPress in it.
  Scenario: Static files do not bother WordPress
    When I go to "http://www.example.org/wp-content/style.css"
    Then the "Link" header should not contain "wp-json"
    And the page should be cacheable for at least 1 day

  Scenario Outline: <path> is for HTTPS alone
    When I try to go to "http://www.example.org<path>"
    Then I should have been redirected from "http://www.example.org<path>" with 301

    Examples:
      | path          |
      | /wp-login.php |
      | /wp-admin/    |

  Scenario: A user logs in
    Given I go to "https://www.example.org/wp-login.php"
    And I fill in "Username or Email Address" with "editor"
    And I fill in "Password" with the secret "editor"
    When I press "Log In"
    Then I should see the heading "Dashboard"
