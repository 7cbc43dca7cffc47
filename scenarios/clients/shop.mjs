// Logs in, asks for an order and pays for one, through the gateway: node shop.mjs [BASE].
const base = process.argv[2] ?? 'http://127.0.0.1:8080';

async function call(path, { token, body } = {}) {
  const response = await fetch(base + path, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { ...(body && { 'content-type': 'application/json' }), ...(token && { authorization: `Bearer ${token}` }) },
    ...(body && { body: JSON.stringify(body) }),
  });
  const answer = await response.json();
  // A proxy's own answers are application/problem+json with a stable code.
  if (!response.ok) throw new Error(`${path}: ${response.status} ${answer.code ?? answer.error}`);
  return answer;
}

const { access_token: token } = await call('/login', { body: { user: 'alice', password: 'wonderland' } });
console.log(await call('/orders/7', { token }));
console.log(await call('/orders', { token, body: { amount: 12 } }));
