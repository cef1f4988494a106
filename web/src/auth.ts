/** The credential: from a one-time ticket in the address, or asked for. Kept in session storage only; never in an address or a log. */

const STORED = "waypost.token";

/** True when a credential is at hand. A ticket is traded once and taken out of the address before anything else happens. */
export async function signInFromAddress(): Promise<{ kind: "ready" } | { kind: "ask"; problem: string }> {
  const ticket = new URLSearchParams(location.hash.slice(1)).get("ticket");
  if (ticket === null) return currentToken() === null ? { kind: "ask", problem: "" } : { kind: "ready" };
  history.replaceState(null, "", location.pathname + location.search);
  try {
    const response = await fetch("/v1/session", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ticket }),
      signal: AbortSignal.timeout(10_000),
    });
    const body: unknown = response.ok ? await response.json() : null;
    if (typeof body === "object" && body !== null && "token" in body && typeof body.token === "string") {
      keepToken(body.token);
      return { kind: "ready" };
    }
    if (currentToken() !== null) return { kind: "ready" };
    return { kind: "ask", problem: response.status >= 500 ? "The server is not ready yet." : "This link was used already. Start the demo again, or enter a key." };
  } catch {
    return { kind: "ask", problem: "The server did not answer." };
  }
}

export function currentToken(): string | null {
  return sessionStorage.getItem(STORED);
}

export function keepToken(token: string): void {
  sessionStorage.setItem(STORED, token);
}

export function forgetToken(): void {
  sessionStorage.removeItem(STORED);
}

/** Asks for a key until one is given. `problem` says why, when there is something to say. */
export function askForKey(dialog: HTMLDialogElement, problem: string): Promise<void> {
  const form = dialog.querySelector("form");
  const input = dialog.querySelector("input");
  const note = dialog.querySelector<HTMLElement>(".problem");
  if (!form || !input || !note) throw new Error("the page lacks its sign-in form");
  note.textContent = problem;
  note.hidden = problem === "";
  input.value = "";
  input.setAttribute("aria-invalid", String(problem !== ""));
  if (!dialog.open) dialog.showModal();
  input.focus();
  dialog.oncancel = (event) => event.preventDefault();
  return new Promise((resolve) => {
    form.onsubmit = (event) => {
      event.preventDefault();
      const key = input.value.trim();
      if (key === "") return;
      keepToken(key);
      input.value = "";
      dialog.close();
      resolve();
    };
  });
}
