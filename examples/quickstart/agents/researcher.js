// A research loop. Its input is a question; it asks a model for questions of its own, answers them one after the other,
// and lets each answer raise the next question. What it finds it keeps in its own SQLite database. It goes on for as long
// as it is answered: what ends it is its budget, or whoever asked going away.
//
// An agent is a module whose default export has `fetch(request, env)`: the request's body is the session's input, and
// the response's body its output, streamed. `env` says where the model is; no key is needed, nor could one be used: the
// gateway knows which session calls.

const MODEL = "local"; // the name that the Agent's `spec.models` gives to a ModelRoute

export default {
  async fetch(request, env) {
    const topic = (await request.text()).trim() || "Why do bridges have arches?";
    const { readable, writable } = new TransformStream();
    research(topic, env, writable.getWriter());
    return new Response(readable, { headers: { "content-type": "text/plain; charset=utf-8" } });
  },
};

async function research(topic, env, output) {
  const encoder = new TextEncoder();
  const say = (text) => output.write(encoder.encode(text));
  try {
    env.SQL.exec("CREATE TABLE notes (id INTEGER PRIMARY KEY, question TEXT NOT NULL, answer TEXT)");
    await say(`Question: ${topic}\n\nPlan:\n`);
    const plan = await ask(env, `Write three short questions that help to answer: ${topic}`, say);
    for (const question of questionsIn(plan, topic)) remember(env, question);

    for (;;) {
      const [open] = env.SQL.exec("SELECT id, question FROM notes WHERE answer IS NULL ORDER BY id LIMIT 1");
      await say(`\n\n[${open.id}] ${open.question}\n`);
      const answer = await ask(env, `Topic: ${topic}\nAnswer in two sentences: ${open.question}`, say);
      env.SQL.exec("UPDATE notes SET answer = ? WHERE id = ?", answer, open.id);

      await say("\n → ");
      const next = await ask(env, `Topic: ${topic}\nWe know: ${answer}\nWrite the next short question to look into.`, say);
      remember(env, questionsIn(next, topic)[0]);
    }
  } catch (error) {
    if (!(error instanceof Refused)) throw await output.abort(error), error;
    await say(`\n\n${error.message}\n`);
    await say(`${error.summary}\n`);
    const [{ answered }] = env.SQL.exec("SELECT count(answer) AS answered FROM notes");
    await say(`notes of mine: ${answered}\n`);
    await output.close();
  }
}

const remember = (env, question) => env.SQL.exec("INSERT INTO notes (question) VALUES (?)", question);

/** The lines of a model's answer that can serve as questions; a small model does not always write any. */
function questionsIn(text, topic) {
  const lines = text.split("\n").map((line) => line.replace(/^[\s\d.)*#-]+/, "").trim().slice(0, 120));
  const questions = lines.filter((line) => line.length > 10).slice(0, 3);
  return questions.length > 0 ? questions : [`What else matters for: ${topic}`];
}

/** One call of the model, streamed to `say` as it comes. Waits where that helps; throws Refused where the budget is used up. */
async function ask(env, prompt, say) {
  const body = { model: MODEL, messages: [{ role: "user", content: prompt }], max_tokens: 64, stream: true };
  for (;;) {
    const response = await fetch(`${env.OPENAI_BASE_URL}/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (response.ok) return await streamed(response, say);
    const retryAfterS = Number(response.headers.get("retry-after"));
    const text = await response.text();
    if (response.status === 402) throw new Refused(JSON.parse(text).error);
    if (!retryAfterS) throw new Error(`the model answered ${response.status}: ${text}`);
    await new Promise((done) => setTimeout(done, retryAfterS * 1000)); // a rate limit, or a gateway that restarts
  }
}

/** The text of a stream of server-sent events. */
async function streamed(response, say) {
  let text = "";
  let line = "";
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (line + chunk).split("\n");
    line = lines.pop();
    for (const event of lines.filter((each) => each.startsWith("data: {"))) {
      const piece = JSON.parse(event.slice("data: ".length)).choices?.[0]?.delta?.content ?? "";
      text += piece;
      await say(piece);
    }
  }
  return text.trim();
}

/** The gateway's 402: a bound is reached, and asking again does not help. */
class Refused extends Error {
  constructor(error) {
    super(error.message);
    const fields = ["reason", "account", "bound", "limit", "spent", "resetsAt"];
    this.summary = `refused status=402 ${fields.map((name) => `${name}=${error[name]}`).join(" ")}`;
  }
}
