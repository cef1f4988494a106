//! Lets a request through to its route when its credential has the right that the route asks for. The one place where rights are checked.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use axum::middleware::{Next, from_fn_with_state};
use axum::routing::MethodRouter;

use crate::formats::problem::Problem;
use crate::http::auth::{Access, Auth, Principal};
use crate::http::phones::credential::{Credential, Login};
use crate::http::phones::reply;
use crate::http::problem;

/// Who a route lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Anybody: it tells nothing of any tenant.
    Open,
    /// Who sends a credential with this right in the `Authorization` header. The handler finds an `Arc<Principal>` among the request's extensions.
    Credential(Access),
    /// A phone app, whose key may also come as the password of HTTP Basic: as `Credential`, and the user name as a `Login` beside it.
    Phone(Access),
    /// The same, where the key stands in the address: it must speak for one driver alone.
    KeyInAddress(Access),
    /// A WebSocket whose credential may come in its first message, for browsers cannot send it earlier: the handler asks for this right, which it
    /// finds among the request's extensions.
    FirstMessage(Access),
}

/// The handler behind its rule.
pub fn guard(handler: MethodRouter, rule: Rule, auth: &Arc<Auth>) -> MethodRouter {
    match rule {
        Rule::Open => handler,
        Rule::FirstMessage(access) => handler.route_layer(Extension(access)),
        Rule::Phone(access) | Rule::KeyInAddress(access) => handler.route_layer(from_fn_with_state((Arc::clone(auth), access), check_phone)),
        Rule::Credential(access) => handler.route_layer(from_fn_with_state((Arc::clone(auth), access), check)),
    }
}

async fn check(State((auth, access)): State<(Arc<Auth>, Access)>, mut request: Request, next: Next) -> Response<Body> {
    match auth.authorise(request.headers(), access).await {
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(denied) => problem::respond(&problem::denied(&denied)),
    }
}

async fn check_phone(State((auth, access)): State<(Arc<Auth>, Access)>, mut request: Request, next: Next) -> Response<Body> {
    let credential = Credential::of(&request);
    match phone(&auth, access, credential).await {
        Ok((principal, login)) => {
            request.extensions_mut().insert(principal);
            request.extensions_mut().insert(login);
            next.run(request).await
        }
        Err(problem) => reply::problem(&problem),
    }
}

async fn phone(auth: &Auth, access: Access, credential: Result<Credential, Problem>) -> Result<(Arc<Principal>, Login), Problem> {
    let credential = credential?;
    let principal = auth.authorise_token(&credential.key, access).await.map_err(|denied| problem::denied(&denied))?;
    credential.check(&principal)?;
    Ok((principal, credential.login))
}
