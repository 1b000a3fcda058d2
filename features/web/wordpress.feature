# Does each part of a WordPress site do its work? Here nginx serves the static files, redirects the login to HTTPS, and
# passes the rest to Apache. WordPress there adds a Link header. A mistake in this split may stay unnoticed for long:
# pages without their style, a login in clear text, or PHP that is served as a file.
#
# Replace www.example.org and the text of the front page. For the last scenario, create a user without permissions (a
# subscriber), and put the password into stepwatch.yml under secrets, as "editor".
@every:5m @warn:3s
Feature: WordPress

  Scenario: Pages come from WordPress
    When I go to "http://www.example.org/"
    Then the "Link" header should contain "wp-json"
    And I should see the heading "News of the Society"

  # Answers of nginx itself contain nothing of WordPress.
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
