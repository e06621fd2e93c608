// Light and dark: as the system has it, until it is chosen here.

function setTheme(theme) {
  document.documentElement.style.colorScheme = theme;
  byId("theme").textContent = ground() === "dark" ? "☀ light" : "☾ dark";
  byId("theme").setAttribute("aria-label", ground() === "dark" ? "Change to light" : "Change to dark");
  changed();
}

function startTheme() {
  // Storage can be forbidden: then the choice lasts as long as the page.
  const stored = () => {
    try {
      return localStorage.getItem("vitx-theme");
    } catch {
      return null;
    }
  };
  byId("theme").addEventListener("click", () => {
    const chosen = ground() === "dark" ? "light" : "dark";
    setTheme(chosen);
    try {
      localStorage.setItem("vitx-theme", chosen);
    } catch {}
  });
  prefersDark.addEventListener("change", () => setTheme(document.documentElement.style.colorScheme));
  setTheme(stored() ?? "");
}
