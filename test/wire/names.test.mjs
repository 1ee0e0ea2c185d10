// fal's own names lead here: a hosts file, TLS on port 443 and a CA that the application trusts; it is not changed at all.
import { after, before, describe, it } from "node:test";
import assert from "node:assert/strict";
import { cell } from "./cells.mjs";
import { KEY, clients } from "./fal_clients.mjs";
import { application, atFalsNames, forget, skip } from "./fals_names.mjs";
import { mockConfig, startMock, startServer } from "./server.mjs";

describe("fal's own names", { skip, concurrency: 6 }, () => {
  let mock, server;
  before(async () => {
    mock = await startMock();
    const [id, secret] = KEY.split(":");
    const config = mockConfig(mock, { ok: "/ok" }, `keys: [{ id: ${id}, secret: ${secret} }]\n`);
    server = await startServer(config, { args: atFalsNames() });
    await server.ready();
  });
  after(async () => {
    await server?.stop();
    await mock?.stop();
  });

  for (const id of Object.keys(clients))
    it(`way.names: ${id}`, { timeout: 60000 }, async () => {
      const { code, text } = await application("names_app.mjs", id);
      assert.equal(code, 0, text);
      assert.match(text, /^done$/m);
      cell(id, "way.names");
    });

  it("an application that does not trust the CA sends nothing", { timeout: 60000 }, async () => {
    const { code, text } = await application("names_app.mjs", "client-1.0", { trusts: false });
    assert.notEqual(code, 0);
    assert.match(text, /unable to verify|self.signed|UNABLE_TO/i);
  });
});

after(forget);
